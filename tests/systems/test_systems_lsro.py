"""GAN + LSRO: the loss, the turns of the DCGAN, and a whole tiny run."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import data
from jaxreid.stages import dcgan
from jaxreid.systems.lsro import lsro_loss

ROOT = Path(__file__).parents[2]
SETTINGS = dcgan.Settings(
    image_height=16, image_width=8, width=2, depth=2, noise=5, batch=4, epochs=1, rate=2e-4
)


def test_generated_images_pull_towards_every_identity_alike():
    logits = jnp.array([[2.0, 1.0, -1.0], [0.5, 0.0, 0.3]])
    batch = {
        "image": jnp.zeros((1, 1)),
        "generated_image": jnp.ones((1, 1)),
        "label": jnp.array([1]),
        "generated_label": jnp.array([0]),
    }

    def loss(logits):
        def forward(stats, images, key):
            assert images.tolist() == [[0.0], [1.0]]
            return {"logits": logits}, stats

        return lsro_loss(forward, None, batch, None)[0]["identity"]

    value, gradient = jax.value_and_grad(loss)(logits)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -(np.log(p[0, 1]) + np.log(p[1]).mean()) / 2
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    targets = np.array([[0, 1, 0], [1 / 3] * 3])
    np.testing.assert_allclose(gradient, (p - targets) / 2, atol=1e-6)


def test_the_generator_turns_twice_on_the_noise_of_the_discriminator():
    first, *others = dcgan.phases(SETTINGS)
    init, step = dcgan.program(SETTINGS)
    state = init(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 8, 3)).astype(np.uint8)
    assert [phase.trains for phase in (first, *others)] == [("D",), ("G",), ("G",)]
    _, aux = first.loss(state.nets, {"image": images}, {}, jax.random.key(1))
    assert aux.memo["noise"].shape == (4, 5) and np.abs(aux.memo["noise"]).max() <= 1
    losses = [phase.loss(state.nets, {}, aux.memo, jax.random.key(2))[0] for phase in others]
    assert losses[0] == losses[1]
    after, metrics = jax.jit(step)(state, {"image": images})
    assert set(metrics) == {"d", "g"}
    for name in "DG":
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), state.nets[name].params, after.nets[name].params
        )
        assert any(jax.tree.leaves(moved))
        assert int(after.nets[name].opt[0].count) == {"D": 1, "G": 2}[name]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("lsro")
    return workdir, launch(workdir)


def launch(workdir, *options):
    command = [sys.executable, "launch.py", "--config=configs/lsro.py:tiny"]
    command += [f"--workdir={workdir}", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_lsro_goes_from_images_to_report(finished):
    workdir, done = finished
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((workdir / "results.json").read_text())
    assert list(results["arms"]) == ["baseline", "jitter", "lsro"]
    assert "Drawn from noise" in (workdir / "report.html").read_text()
    assert list((workdir / "dcgan" / "samples").glob("*.png"))
    drawn = data.load(workdir / "generated" / "records", (32, 16))["train"]
    assert len(drawn) == 24 and set(drawn.pids) == {-1} and set(drawn.sources) == {""}
    images = drawn.images(np.arange(24))
    assert len({image.tobytes() for image in images}) == 24


def test_a_finished_run_is_not_done_again(finished):
    workdir, _ = finished
    before = (workdir / "results.json").read_bytes()
    assert "steps/s" not in launch(workdir).stdout
    assert (workdir / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dcgan.image_height=33", "Images of 33x16 cannot be reached by 3 doublings"),
        ("dcgan.batch=4000", "there are 32 training images"),
        ("lsro.images=0", "lsro.images is 0"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_work_starts(finished, option, message):
    workdir, _ = finished
    done = launch(workdir, f"--config.{option}")
    assert done.returncode == 1 and message in done.stderr
