"""`--config.reid.pretrained=PATH` from the command line."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxreid.nets.resnet import ResNet

ROOT = Path(__file__).parents[2]
NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def torchvision_state(net):
    """Arrays of the net's sizes under torchvision's names."""
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3)))
    rng, state = np.random.default_rng(0), {}
    for (_, *path, leaf), value in flatten_dict(shapes).items():
        layer = re.sub(r"_(\d+)", r".\1", ".".join(path))
        shape = [value.shape[i] for i in (3, 2, 0, 1)] if len(value.shape) == 4 else value.shape
        array = 0.1 * rng.standard_normal(shape) + (leaf in ("scale", "var"))
        state[f"{layer}.{NAMES.get(leaf, leaf)}"] = array.astype(np.float32)
    return state


def launch(workdir, *options):
    command = [sys.executable, "launch.py", "--config=configs/ide.py:tiny", f"--workdir={workdir}"]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("depth", [18, 34])
def test_weights_are_loaded_and_reported_or_refused_before_work_starts(tmp_path, depth):
    path = tmp_path / "resnet.npz"
    state = torchvision_state(ResNet(depth, 8, stem="small"))
    np.savez(path, **state, **{"fc.bias": np.zeros(9)})
    options = ("--config.reid.depth=18", "--config.reid.epochs=1")
    done = launch(tmp_path / "run", *options, f"--config.reid.pretrained={path}")
    if depth == 18:
        assert done.returncode == 0, done.stderr[-2000:]
        assert "100 arrays used; 0 missing; 1 unexpected: fc.bias" in done.stdout
    else:
        assert done.returncode == 1
        assert "lacks none of" in done.stderr and "has 48 (first 'layer" in done.stderr
        assert "steps/s" not in done.stdout


def test_efficientnet_trains(tmp_path):
    done = launch(
        tmp_path / "run", "--config.reid.backbone=efficientnet_lite0", "--config.reid.epochs=1"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "rank-1" in done.stdout


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("head=midlevel", "needs a ResNet with reid.depth 34"),
        ("ibn=c", "reid.ibn is 'c'; choose one of"),
        (
            "ibn=a --config.reid.stem=imagenet --config.data.height=16 --config.data.width=8",
            "maps of one pixel",
        ),
    ],
)
def test_settings_that_make_no_network_stop_before_work_starts(tmp_path, option, message):
    done = launch(tmp_path / "run", *f"--config.reid.{option}".split())
    assert done.returncode == 1 and message in done.stderr
    assert "steps/s" not in done.stdout
