"""UnityStyle: the loss, what is restyled for training and test, a whole tiny run."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from configs import common
from jaxreid import data
from jaxreid.stages import sets
from jaxreid.stages.sets import Restylers
from jaxreid.systems.unitystyle import UNITY, as_first_camera, repeated, restyled, unity_loss

launch = partial(tiny.launch, "unitystyle")


@pytest.mark.parametrize(("separate", "calls"), [(False, [5]), (True, [3, 2])])
def test_both_kinds_have_one_hot_labels_and_a_mean_of_their_own(separate, calls):
    logits = jnp.arange(20.0).reshape(5, 4) % 7
    labels = jnp.array([0, 3, 1, 2, 2])
    batch = {
        "image": logits[:3],
        "label": labels[:3],
        "generated_image": logits[3:],
        "generated_label": labels[3:],
    }
    seen = []

    def forward(stats, images, key):
        seen.append(len(images))
        return {"logits": images}, stats + 1

    terms, stats = unity_loss(forward, 0, batch, jax.random.key(0), separate=separate)
    own = -jax.nn.log_softmax(logits)[jnp.arange(5), labels]
    np.testing.assert_allclose(terms["real"], own[:3].mean(), rtol=1e-6)
    np.testing.assert_allclose(terms["unity"], own[3:].mean(), rtol=1e-6)
    assert seen == calls and stats == len(calls)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    settings = sets.Settings(**common.data("tiny").to_dict())
    return sets.prepare(tmp_path_factory.mktemp("world"), settings)


def test_every_split_is_restyled_and_stays_what_it_shows(world, tmp_path):
    def painted(camera):
        return lambda split, rows: 255 - split.images(rows) // (camera + 2)

    cameras = np.unique(world.train.cameras).tolist()
    restylers = Restylers({camera: painted(camera) for camera in cameras}, "painted")
    train, unified = restyled(tmp_path, world, restylers)
    made = {"train": train.split, "query": unified.query, "gallery": unified.gallery}
    for name, split in made.items():
        real = getattr(world, name)
        np.testing.assert_array_equal(split.pids, real.pids)
        np.testing.assert_array_equal(split.cameras, real.cameras)
        assert split.sources == real.names
        rows = np.arange(len(real))
        expected = 255 - real.images(rows) // (real.cameras[:, None, None, None] + 2)
        np.testing.assert_array_equal(split.images(rows), expected)
    assert unified.train is world.train and unified.made_by != world.made_by


def test_the_oracle_shows_everything_as_the_first_camera_would(world):
    oracle = as_first_camera(world.truth)
    split = world.query
    for camera in (0, 1):
        rows = np.flatnonzero(split.cameras == camera)[:2]
        drawn = oracle.to_unity[camera](split, rows)
        if camera == 0:
            np.testing.assert_array_equal(drawn, split.images(rows))
        else:
            np.testing.assert_array_equal(drawn, world.truth.between[1, 0](split, rows))


@pytest.fixture(scope="module")
def finished(place):
    workdir = place("unitystyle")
    return workdir, launch(workdir)


def test_unitystyle_goes_from_images_to_report(finished):
    workdir, done = finished
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((workdir / "results.json").read_text())
    arms = {"baseline", "jitter", "twice", "unitystyle", "unitystyle_real", "oracle"}
    assert set(results["arms"]) == arms
    assert "Every camera in the unity style" in (workdir / "report.html").read_text()
    assert set(results["quality"]) == {"real", "untranslated", "unitystyle", "truth"}
    for camera in (1, 2, 3):
        assert list((workdir / f"unitygan/camera_{camera}/samples").glob("*.png"))
    lines = (workdir / "reid_unitystyle" / "metrics.jsonl").read_text().splitlines()
    assert {"real", "unity"} <= json.loads(lines[-1]).keys()
    # One network, two tests: on unity images and on real ones.
    tests = [np.load(workdir / f"reid_unitystyle/{t}/query.npy") for t in ("test", "test_real")]
    assert tests[0].shape == tests[1].shape and not np.array_equal(*tests)
    unified = data.load(workdir / "generated/query/records", (32, 16))["query"]
    assert set(unified.styles.tolist()) == {0}


def test_the_control_pairs_every_real_image_with_itself(finished):
    workdir, _ = finished
    train = data.load(workdir / "records/tfds", (32, 16))["train"]
    copies = repeated(train).split
    plan = data.shuffled(len(train), 8, 0)
    made = (copies.sources, copies.styles)
    groups = UNITY.companions
    beside = data.companions(plan, train.names, made, groups, each=1, steps=4, seed=1)
    for step in range(4):
        np.testing.assert_array_equal(beside(step), plan(step))
        np.testing.assert_array_equal(copies.images(beside(step)), train.images(plan(step)))


def test_a_finished_run_is_not_done_again(finished):
    tiny.check_idle("unitystyle", finished[0])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("unitygan.batch=40", "unitygan.batch is 40, but there are images"),
        ("unitygan.gan_weight=0.9", "add up to"),
        ("reid.generated_batch=3", "generated_batch is 3, reid.batch 8"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_work_starts(finished, option, message):
    tiny.check_refusal("unitystyle", finished[0], option, message)
