"""GAN + LSRO: the loss, the turns of the DCGAN, and a whole tiny run."""

import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxreid import data
from jaxreid.data import world
from jaxreid.stages import dcgan
from jaxreid.systems.lsro import all_in_one_loss, lsro_loss, pseudo_loss

launch = partial(tiny.launch, "lsro")
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


def label_loss(loss, logits, generated, label=1, epoch=0, **options):
    """The loss of one image with these logits."""
    kinds = {False: "image", True: "generated_image"}
    batch = {name: jnp.zeros((0, 1)) for name in kinds.values()}
    batch |= {"label": jnp.zeros(0, int), "generated_label": jnp.zeros(0, int), "epoch": epoch}
    batch[kinds[generated]] = jnp.zeros((1, 1))
    batch[kinds[generated].replace("image", "label")] = jnp.array([label])

    def forward(stats, images, key):
        return {"logits": jnp.array([logits])}, stats

    return float(loss(forward, None, batch, None, **options)[0]["identity"])


def test_all_in_one_is_a_class_of_its_own():
    logits = (1.0, 2.0, 0.5, -1.0)
    assert label_loss(all_in_one_loss, logits, True) == pytest.approx(3.495182, abs=1e-6)
    assert label_loss(all_in_one_loss, logits, False) == pytest.approx(0.495182, abs=1e-6)


def test_pseudo_labels_are_the_networks_own_and_wait():
    logits, options = (1.0, 2.0, 0.5), {"after": 20, "weight": 0.1}
    for label in (0, 1, 2):  # whoever the row is said to show
        value = label_loss(pseudo_loss, logits, True, label, epoch=20, **options)
        assert value == pytest.approx(0.046437, abs=1e-6)
    assert label_loss(pseudo_loss, logits, True, epoch=19, **options) == 0.0
    assert label_loss(pseudo_loss, logits, False, **options) == pytest.approx(0.464369, abs=1e-6)


def test_the_generator_turns_twice_on_the_noise_of_the_discriminator():
    first, *others = dcgan.phases(SETTINGS)
    init, step = dcgan.program(SETTINGS)
    state = init(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 8, 3)).astype(np.uint8)
    assert [phase.trains for phase in (first, *others)] == [("D",), ("G",), ("G",)]
    _, aux = first.loss(state.nets, {"image": images}, {}, jax.random.key(1))
    noise = aux.memo["noise"]
    assert noise.shape == (4, 5) and -1 <= noise.min() < 0 < noise.max() <= 1
    losses = [
        phase.loss(state.nets, {}, memo, jax.random.key(key))[0]
        for phase, memo, key in zip(
            others * 2, [aux.memo] * 2 + [{"noise": -noise}] * 2, range(2, 6), strict=True
        )
    ]
    assert losses[0] == losses[1] != losses[2] == losses[3]
    after, metrics = jax.jit(step)(state, {"image": images})
    assert set(metrics) == {"d", "g"}
    for name in "DG":
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), state.nets[name].params, after.nets[name].params
        )
        assert any(jax.tree.leaves(moved))
        assert int(after.nets[name].opt[0].count) == {"D": 1, "G": 2}[name]


@pytest.fixture(scope="module")
def finished(place):
    workdir = place("lsro")
    return workdir, launch(workdir)


def test_lsro_goes_from_images_to_report(finished):
    workdir, done = finished
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((workdir / "results.json").read_text())
    assert list(results["arms"]) == ["baseline", "jitter", "lsro", "oracle"]
    assert "Drawn from noise" in (workdir / "report.html").read_text()
    assert list((workdir / "dcgan" / "samples").glob("*.png"))
    drawn = data.load(workdir / "generated" / "records", (32, 16))["train"]
    assert len(drawn) == 24 and set(drawn.pids) == {-1} and set(drawn.sources) == {""}
    images = drawn.images(np.arange(24))
    assert len({image.tobytes() for image in images}) == 24
    others = data.load(workdir / "truth" / "records", (32, 16))["train"]
    assert len(others) == 24 and set(others.pids) == {-1}
    shown = others.resized((32, 16)).images(np.arange(24))
    np.testing.assert_array_equal(shown, world.outsiders(workdir / "world" / "pictures", 0, 24))


def test_a_finished_run_is_not_done_again(finished):
    tiny.check_idle("lsro", finished[0])


@pytest.mark.parametrize("labels", ["all_in_one", "pseudo"])
def test_rival_labels_train_on_the_same_pictures(finished, tmp_path, labels):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    for arm in ("lsro", "oracle"):
        shutil.rmtree(tmp_path / f"reid_{arm}")
    done = launch(tmp_path, f"--config.lsro.labels={labels}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "dcgan" not in done.stdout and "reid_baseline" not in done.stdout
    rows = [
        json.loads((w / "reid_lsro" / "metrics.jsonl").read_text().splitlines()[-1])
        for w in (workdir, tmp_path)
    ]
    assert rows[0]["identity"] != rows[1]["identity"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dcgan.image_height=33", "Images of 33x16 cannot be reached by 3 doublings"),
        ("dcgan.batch=4000", "there are 32 training images"),
        ("lsro.images=0", "lsro.images is 0"),
        ("lsro.baseline_batch=0", "lsro.baseline_batch is 0, but there are 32"),
        ("reid.generated_batch=0", "reid.generated_batch is 0"),
        ("lsro.labels=outlier", "lsro.labels is 'outlier'; choose one of ('lsro', 'all_in_one'"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_work_starts(finished, option, message):
    tiny.check_refusal("lsro", finished[0], option, message)
