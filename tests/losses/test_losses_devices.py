"""Losses see the global batch: 8 simulated devices give the values and gradients of one.

Device counts are fixed when JAX starts, so the devices live in a process of their own.
"""

import json
import os
import subprocess
import sys

SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxreid import losses

rng = np.random.default_rng(0)
x, y = rng.normal(size=(2, 16, 6)).astype(np.float32)
a = rng.uniform(size=(16, 9, 8, 2)).astype(np.float32)
b = np.clip(a + 0.1 * rng.normal(size=a.shape), 0, 1).astype(np.float32)
ids, other = rng.integers(0, 5, (2, 16))
where = rng.random(16) < 0.8
targets = losses.smooth_labels(ids % 6, 6, 0.1)

def cross(x, y, positives):
    sides = losses.cross_modality(x, ids, y, other, margin=1.0, positives=positives)
    return jnp.stack(sides)

def intra(x, y):
    pairs = losses.mine_pairs(x, ids, y, other, where=where)
    mined = losses.intra_modality(y, other, margin=4.0, pairs=pairs)
    return mined + losses.intra_modality(x, ids, margin=4.0, where=where)

LOSSES = {
    "triplet": (lambda x, y: losses.triplet(x + y, ids, margin=1.0, where=where), x, y),
    "fake_triplet, all": (
        lambda x, y: losses.fake_triplet(x, ids, y, other, margin=1.0, negatives="all"), x, y),
    "fake_triplet, real": (
        lambda x, y: losses.fake_triplet(x, ids, y, other, margin="soft", fake_where=where), x, y),
    "cross_modality": (lambda x, y: cross(x, y, "hardest"), x, y),
    "cross_modality, all": (lambda x, y: cross(x, y, "all"), x, y),
    "intra_modality": (intra, x, y),
    "feature_matching": (
        lambda x, y: losses.feature_matching([x, x[:, :2]**2], [y, y[:, :2]**2]), x, y),
    "ms_ssim": (lambda x, y: losses.ms_ssim(x, y, where=where), a, b),
    "cross_entropy": (lambda x, y: losses.joint_cross_entropy(x, y, targets, where=where), x, y),
}
mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
errors = {}
for name, (loss, *args) in LOSSES.items():
    def run(*args):
        values = loss(*args)
        return values, jax.grad(lambda z: loss(*z).sum())(args)
    split = [jax.device_put(z, NamedSharding(mesh, P("data"))) for z in args]
    assert len(split[0].sharding.device_set) == 8, split[0].sharding
    one, eight = jax.jit(run)(*args), jax.jit(run)(*split)
    gaps = jax.tree.map(lambda p, q: float(np.abs(np.subtract(p, q)).max()), one, eight)
    errors[name] = [max(jax.tree.leaves(gap)) for gap in gaps]
    assert np.max(np.abs(one[1][0])) > 1e-5, name
print(json.dumps(errors))
"""


def test_eight_devices_give_what_one_gives(proof):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    for name, (value, gradient) in json.loads(done.stdout).items():
        proof(f"{name}, batch over 8 devices", "one device", value, 1e-5)
        proof(f"{name}, gradient, batch over 8 devices", "one device", gradient, 1e-5)
