"""Scores do not depend on the number of devices. Device counts are fixed when JAX starts, so the
eight simulated devices live in a process of their own."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxreid.evaluation import Embedded, Protocol, evaluate

SCRIPT = """
import json
import jax
import numpy as np
from jax.sharding import AxisType
from jaxreid.evaluation import Embedded, Protocol, evaluate, top_ranked

rng = np.random.default_rng(3)
centres = rng.normal(size=(60, 64))
def pictures(n):
    pids = rng.integers(-1, 60, n)
    return Embedded(centres[pids] + 2 * rng.normal(size=(n, 64)), pids, rng.integers(1, 7, n))

query, results = pictures(101), []
meshes = [None] + [
    jax.make_mesh((n,), ("data",), (AxisType.Auto,), devices=jax.devices()[:n]) for n in (1, 2, 8)
]
for size, rules in (
    (50, {}),
    (9001, {}),
    (2049, {"cmc": "identity", "mask": "sysu"}),
    (1025, {"cmc": "single_shot"}),
    (1025, {"reranking": {"k1": 20}}),
):
    gallery, protocol = pictures(size), Protocol(**rules)
    results.append([evaluate(query, gallery, protocol, mesh=mesh).to_dict() for mesh in meshes])
plain = Protocol(mask="none", normalize=False, junk_pids=())
shown = top_ranked(query, gallery, np.arange(9), 7, plain)
apart = np.linalg.norm(query.embeddings[:9, None] - gallery.embeddings, axis=-1)
np.testing.assert_array_equal(shown.rows, apart.argsort(axis=1)[:, :7])
print(json.dumps(results))
"""


def test_one_two_and_eight_devices_agree_bit_for_bit():
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS")  # the promise holds as users compile
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout)
    assert len(results) == 5
    for default, *meshes in results:
        assert 0 < default["mAP"] < 1
        assert meshes == [default] * 3


def test_a_mesh_with_other_axes_is_refused():
    mesh = jax.make_mesh((1,), ("model",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    query = Embedded(np.eye(2), [0, 1], [0, 0])
    gallery = Embedded(np.eye(2), [0, 1], [1, 1])
    with pytest.raises(ValueError, match="one axis \\('data',\\)"):
        evaluate(query, gallery, Protocol(), mesh=mesh)
