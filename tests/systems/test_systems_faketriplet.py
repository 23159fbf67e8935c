"""StarGAN + fake triplet: the three losses by hand, their options, a whole tiny run."""

import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxreid import data
from jaxreid.evaluation import Embedded, Protocol, evaluate
from jaxreid.systems.faketriplet import camera_invariant_loss, parse_groups, parse_terms

launch = partial(tiny.launch, "faketriplet")
OPTIONS = {
    "margin": 0.3,
    "fake_margin": 0.3,
    "negatives": "real",
    "epsilon": 0.1,
    "smooth_on": "all",
    "cls_on_fake": True,
    "two_passes": False,
}
REAL, FAKE = jnp.array([[0.0], [0.2], [1.0], [1.3]]), jnp.array([[-0.1], [0.5], [0.9], [1.6]])
LABELS = jnp.array([0, 0, 1, 1])


def found(terms, real=REAL, fake=FAKE, calls=None, fake_labels=LABELS, **changes):
    """Terms of the loss when the network's metric embedding is the image itself."""
    batch = {"image": real, "label": LABELS}
    batch |= {"generated_image": fake, "generated_label": fake_labels}

    def forward(stats, images, key):
        if calls is not None:
            calls.append(len(images))
        logits = jnp.concatenate([images, jnp.zeros_like(images)], axis=1)
        return {"metric": images, "logits": logits}, stats + 1

    key = jax.random.key(0)
    return camera_invariant_loss(forward, 0, batch, key, terms=terms, options=OPTIONS | changes)


@pytest.mark.parametrize(
    ("margins", "negatives", "triplet", "fake"),
    [
        ((0.3, 0.3), "real", 0.0, 0.025),
        ((0.3, 0.3), "fake", 0.0, 0.1),
        ((1.0, 1.0), "real", 0.325, 0.525),
        ((1.0, 1.0), "fake", 0.325, 0.725),
        ((1.0, 1.0), "all", 0.325, 0.725),
        ((1.0, 0.3), "real", 0.325, 0.025),
    ],
)
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0, 0, 1, 2, 3]])
def test_triplets_are_the_ones_worked_out_by_hand(margins, negatives, triplet, fake, rows):
    options = dict(zip(("margin", "fake_margin"), margins, strict=True), negatives=negatives)
    made = {"fake": FAKE[np.array(rows)], "fake_labels": LABELS[np.array(rows)]}
    terms, _ = found(("tri", "fake"), **made, **options)
    assert list(terms) == ["tri", "fake"]
    np.testing.assert_allclose([terms["tri"], terms["fake"]], [triplet, fake], atol=1e-6)


def test_gradients_reach_real_and_generated_images_as_worked_out_by_hand():
    def mean(real, fake, term):
        return found((term,), real, fake, margin=1.0, fake_margin=1.0)[0][term]

    by_real, by_fake = jax.grad(mean, argnums=(0, 1))(REAL, FAKE, "tri")
    np.testing.assert_allclose(by_real[:, 0], [-0.25, 1.25, -1.25, 0.25], atol=1e-6)
    assert not np.any(by_fake)
    by_real, by_fake = jax.grad(mean, argnums=(0, 1))(REAL, FAKE, "fake")
    np.testing.assert_allclose(by_real[:, 0], [0, 0.75, -1, 0], atol=1e-6)
    np.testing.assert_allclose(by_fake[:, 0], [-0.125, 0.375, -0.25, 0.25], atol=1e-6)


@pytest.mark.parametrize("cls_on_fake", [True, False])
@pytest.mark.parametrize("smooth_on", ["all", "fake"])
def test_classification_smooths_and_averages_whom_it_is_told_to(cls_on_fake, smooth_on):
    terms, _ = found(("cls", "fake"), cls_on_fake=cls_on_fake, smooth_on=smooth_on)
    epsilons = np.array([0.1 if smooth_on == "all" else 0.0] * 4 + [0.1] * 4)
    logits = np.concatenate([REAL, FAKE])
    logits = np.concatenate([logits, np.zeros_like(logits)], axis=1)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    own = logs[np.arange(8), np.tile(LABELS, 2)]
    values = -(1 - epsilons) * own - epsilons * logs.mean(1)
    expected = values.mean() if cls_on_fake else values[:4].mean()
    assert float(terms["cls"]) == pytest.approx(float(expected), abs=1e-6)


def test_without_their_triplet_generated_images_are_not_even_looked_at():
    calls = []
    terms, stats = found(("cls", "tri"), calls=calls)
    assert list(terms) == ["cls", "tri"] and calls == [4] and stats == 1


@pytest.mark.parametrize(("two_passes", "expected"), [(False, [8]), (True, [4, 4])])
def test_batch_norm_sees_both_kinds_together_or_apart(two_passes, expected):
    calls = []
    terms, stats = found(("cls", "tri", "fake"), calls=calls, two_passes=two_passes)
    assert calls == expected and stats == len(expected)
    np.testing.assert_allclose(terms["fake"], 0.025, atol=1e-6)


def test_terms_and_groups_are_read_or_refused():
    assert parse_terms("tri+fake") == ("tri", "fake")
    assert parse_groups("", [0, 2, 3]) == ((0, 2, 3),)
    assert parse_groups("1,3;4", [0, 2, 3]) == ((0, 2), (3,))
    for wrong in ("", "cls+cls", "cls,tri", "lsr"):
        with pytest.raises(ValueError, match="faketriplet.terms is"):
            parse_terms(wrong)
    for wrong in ("2", "1;", "a", "0"):
        with pytest.raises(ValueError, match="fake_groups is .* cameras are 1, 3, 4"):
            parse_groups(wrong, [0, 2, 3])


@pytest.fixture(scope="module")
def finished(place):
    workdir = place("faketriplet")
    return workdir, launch(workdir)


def test_faketriplet_goes_from_images_to_report(finished):
    workdir, done = finished
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((workdir / "results.json").read_text())
    assert set(results["arms"]) == {"baseline", "jitter", "faketriplet", "oracle"}
    assert "Each camera to each" in (workdir / "report.html").read_text()
    assert list((workdir / "stargan" / "samples").glob("*.png"))
    lines = (workdir / "reid_faketriplet" / "metrics.jsonl").read_text().splitlines()
    assert {"cls", "tri", "fake"} <= json.loads(lines[-1]).keys()
    fakes = data.load(workdir / "generated" / "c1_to_c2" / "records", (32, 16))["train"]
    assert set(fakes.styles.tolist()) == {1} and set(fakes.cameras.tolist()) == {0}


def test_groups_of_styles_reach_the_arms_that_draw_fakes_and_no_others(finished, tmp_path):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    for arm in ("faketriplet", "oracle"):
        shutil.rmtree(tmp_path / f"reid_{arm}")
    done = launch(tmp_path, "--config.faketriplet.fake_groups=1,2;3")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "reid_baseline" not in done.stdout and "stargan" not in done.stdout
    for arm in ("faketriplet", "oracle"):
        made_with = json.loads((tmp_path / f"reid_{arm}" / "settings.json").read_text())
        assert made_with["extras"]["companions"] == [[0, 1], [2]]


def test_arms_are_ranked_by_the_distance_that_triplets_train(finished):
    workdir, _ = finished
    splits = data.load(workdir / "records/tfds", (32, 16))
    arm = workdir / "reid_faketriplet" / "test"
    query, gallery = (
        Embedded(np.load(arm / f"{name}.npy"), splits[name].pids, splits[name].cameras)
        for name in ("query", "gallery")
    )
    stored = json.loads((workdir / "results.json").read_text())["arms"]["faketriplet"]
    assert stored["mAP"] == evaluate(query, gallery, Protocol(normalize=False)).mean_ap
    assert stored["protocol"]["normalize"] is False


def test_a_finished_run_is_not_done_again(finished):
    tiny.check_idle("faketriplet", finished[0])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("faketriplet.terms=cls+lsr", "join some of cls, tri, fake"),
        ("faketriplet.negatives=none", "faketriplet.negatives is 'none'"),
        ("faketriplet.fake_groups=7", "cameras are 1, 2, 3"),
        ("faketriplet.fake_groups=2;1,3", "images of camera 2 would have no generated image"),
        ("reid.generated_batch=12", "generated_batch is 12, reid.batch 8"),
        ("reid.images_per_identity=1", "a triplet needs at least 2 images"),
        ("reid.images_per_identity=3", "no multiple of reid.images_per_identity"),
        ("stargan.batch=400", "there are 32 training images"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_work_starts(finished, option, message):
    tiny.check_refusal("faketriplet", finished[0], option, message)
