"""IDE + MMD, HHL and M2M-GAN: whole tiny runs, and that no target identity is read."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny

from jaxreid import data
from jaxreid.stages import crossing, sets

SYSTEMS = ("mmd", "hhl", "m2m")
RIVALS = ("baseline", "jitter", "cut_and_paste", "oracle")
SIZE = (32, 16)


@pytest.fixture(scope="module")
def runs(place):
    return {name: (place(name), tiny.launch(name, place(name))) for name in SYSTEMS}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_goes_from_two_cities_to_report(runs, name):
    workdir, done = runs[name]
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((workdir / "results.json").read_text())
    arms = {f"{arm}{view}" for arm in (*RIVALS, name) for view in ("", "_lmp")}
    assert set(results["arms"]) == arms
    generated = {"m2m"} if name == "m2m" else set()
    assert set(results["distances"]) == {"source", "floor", "cut_and_paste", "oracle"} | generated
    page = (workdir / "report.html").read_text()
    assert ("in the target&#x27;s style" in page) == (name == "m2m")
    assert ("Each camera to each" in page) == (name == "hhl")
    settings = json.loads((workdir / f"reid_{name}" / "settings.json").read_text())
    assert ("slow" in settings) == (name == "hhl")
    assert settings["reid"]["head"] == ("fc1024_triplet" if name == "hhl" else "fc1024")
    rival = json.loads((workdir / "reid_baseline" / "settings.json").read_text())
    assert rival["reid"]["head"] == "fc1024" and "slow" not in rival


def test_target_images_are_rendered_in_every_camera_and_nobody_s(runs):
    workdir, _ = runs["hhl"]
    real = data.load(workdir / "target" / "records" / "tfds", SIZE)["train"]
    cameras = np.unique(real.cameras).tolist()
    parts = {f"c{a + 1}_to_c{b + 1}": (a, b) for a in cameras for b in cameras}
    assert {path.name for path in (workdir / "rendered").iterdir()} == set(parts)
    for part, (own, style) in parts.items():
        made = data.load(workdir / "rendered" / part / "records", SIZE)["train"]
        expected = np.flatnonzero(real.cameras == own)
        assert made.sources == tuple(real.names[row] for row in expected)
        assert set(made.styles.tolist()) == {style} and set(made.pids.tolist()) == {-1}


def test_m2m_s_images_keep_people_and_order(runs):
    workdir, _ = runs["m2m"]
    source = data.load(workdir / "source" / "records" / "tfds", SIZE)["train"]
    made = data.load(workdir / "generated" / "records", SIZE)["train"]
    assert made.sources == source.names and set(made.styles.tolist()) == {sets.TARGET}
    np.testing.assert_array_equal(made.pids, source.pids)


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("name", SYSTEMS)
def test_target_identities_are_read_by_nothing_that_is_trained(runs, name, tmp_path, monkeypatch):
    """With identities put back into the target's training images, the bytes are the same: of all
    that the re-ID network is trained on, translations and renderings by networks included."""
    config = importlib.import_module(f"configs.{name}").get_config("tiny").to_dict()
    system = importlib.import_module(f"jaxreid.systems.{name}")
    started = crossing.begin(config, runs[name][0])
    target = started.data.target
    known = np.random.default_rng(0).permutation(np.arange(len(target.train)) % 7)
    known = target._replace(train=replace(target.train, pids=known))
    seen = []

    def train(*_, loss, joined, **given):
        draws = joined.arrays(0), joined.arrays(1)  # of two networks, over an epoch of the target
        steps, others = (
            [bytes_of(of(step)) for step in range(12)] for of in draws
        )  # over an epoch
        assert all(a[name] != b[name] for a, b in zip(steps, others, strict=True) for name in a)
        seen.append((loss.keywords, joined.made_by, given, steps))

    monkeypatch.setattr(crossing, "train", train)
    monkeypatch.setattr(crossing, "conclude", lambda *_, **__: None)
    monkeypatch.setattr(crossing, "finish", lambda *given: seen.append(drawn(*given)))
    for label, given in (("honest", target), ("known", known)):
        data = started.data._replace(target=given)
        run = started._replace(workdir=tmp_path / label, data=data)
        monkeypatch.setattr(crossing, "begin", lambda *_, run=run: run)
        system.run(config, run.workdir)
    assert len(seen) == 2 and seen[0] == seen[1]


def bytes_of(arrays):
    return {name: array.tobytes() for name, array in arrays.items()}


def drawn(run, translators):
    """What the translator makes of the source."""
    source = run.data.source.train
    images = translators.between[sets.SOURCE, sets.TARGET](source, np.arange(len(source)))
    return images.tobytes()


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_finished_run_is_not_done_again(runs, name):
    tiny.check_idle(name, runs[name][0])
