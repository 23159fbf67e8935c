"""PUL and BUC, whole tiny runs: clusters for identities, resume, labels that nobody reads."""

import importlib
import json
import math
import shutil

import numpy as np
import pytest
import tiny

from jaxreid.stages import crossing, repelled
from jaxreid.systems import buc, pul
from jaxreid.training.workdir import fingerprint


def config(name):
    return importlib.import_module(f"configs.{name}").get_config("tiny").to_dict()


def launched(workdir, name):
    done = tiny.launch(name, workdir)
    assert done.returncode == 0, done.stderr[-2000:]
    arms = json.loads((workdir / "results.json").read_text())["arms"]
    each = ("baseline", "cut_and_paste", "jitter", name, "oracle")
    assert sorted(arms) == sorted(f"{arm}{view}" for arm in each for view in ("", "_lmp"))
    return workdir


@pytest.fixture(scope="module")
def finished_buc(place):
    return launched(place("buc"), "buc")


@pytest.fixture(scope="module")
def finished_pul(place):
    return launched(place("pul"), "pul")


def test_buc_unites_images_step_by_step(finished_buc):
    steps = [finished_buc / "reid_buc" / f"step_{k}" for k in range(3)]
    labels = [np.load(step / "clusters.npy") for step in steps]
    images = len(labels[0])
    np.testing.assert_array_equal(labels[0], np.arange(images))
    for before, after in zip(labels, labels[1:], strict=False):
        assert after.max() + 1 == before.max() + 1 - int(0.05 * images)
        assert len(set(zip(before.tolist(), after.tolist(), strict=True))) == before.max() + 1
    for step, found in zip(steps, labels, strict=True):
        first = json.loads((step / "metrics.jsonl").read_text().splitlines()[0])
        clusters = math.log(found.max() + 1)  # the memory begins at 0 in every step
        assert first == {"step": 1, "repelled": pytest.approx(clusters, rel=1e-5)}
    networks = [dict(np.load(step / "network.npz")) for step in steps]
    name = "params/head/feat/kernel"  # a step goes on with the network of the step before
    moved = [np.abs(b[name] - a[name]).max() for a, b in zip(networks, networks[1:], strict=False)]
    assert all(0 < change < 0.1 * np.abs(networks[0][name]).max() for change in moved), moved


def test_pul_learns_every_round_from_the_network_of_the_source(finished_pul):
    own, options = finished_pul / "reid_pul", config("pul")["pul"]

    def settings(stage):
        return json.loads((stage / "settings.json").read_text())

    baseline = fingerprint(settings(finished_pul / "reid_baseline"))
    embedded_by = baseline
    for t in range(1, options["rounds"] + 1):
        labels = np.load(own / f"clusters_{t}" / "clusters.npy")
        found = settings(own / f"clusters_{t}")
        assert found["network"] == embedded_by and found["seed"] == [0, t]
        training = settings(own / f"round_{t}")
        assert training["start"] == baseline
        people = len(np.unique(labels[labels >= 0]))
        assert training["extras"]["classes"] == options["clusters"] - people
        assert training["data"] == fingerprint(found)
        embedded_by = fingerprint(training)
    assert settings(own / f"round_{t}" / "test")["model"] == embedded_by


def test_what_leaves_too_little_is_named(finished_pul, quick_compiler):
    many = config("pul") | {"pul": config("pul")["pul"] | {"clusters": 33}}
    with pytest.raises(ValueError, match="pul.clusters is 33, but the target has 32 training"):
        pul.run(many, finished_pul)
    options = config("pul")["pul"] | {"threshold": 0.999999}
    run = crossing.begin(config("pul"), finished_pul)
    with pytest.raises(ValueError, match="pul.threshold is 0.999999, .* round 9 only . of 32"):
        pul.select(run, crossing.direct(run), 9, options)
    shutil.rmtree(finished_pul / "reid_pul" / "clusters_9")


def test_a_finished_run_is_not_done_again(finished_pul):
    tiny.check_idle("pul", finished_pul)


class Cut(Exception):
    """A run that ends here."""


@pytest.fixture
def other_labels(monkeypatch):
    """The target's training images are labelled at random when they are read."""
    tiny.shuffle_target(monkeypatch)


def begun_again(finished, workdir, own):
    skipped = shutil.ignore_patterns(own, "results.json", "report.html")
    shutil.copytree(finished, workdir, ignore=skipped)
    return workdir


def check_same(first, second, own):
    files = sorted(path.relative_to(first) for path in (first / own).rglob("clusters.npy"))
    assert len(files) > 1
    for name in (*files, "results.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_buc_cut_and_continued_with_other_labels_ends_with_the_same_bytes(
    finished_buc, tmp_path, monkeypatch, quick_compiler, other_labels
):
    """Cut in the middle of step 0, where the memory is half full, and before step 1."""
    workdir = begun_again(finished_buc, tmp_path / "again", "reid_buc")
    loading, training = repelled.prefetch, repelled.train

    def cut_loading(batch, start, stop):
        for step, arrays in loading(batch, start, stop):
            if step == 5:
                raise Cut
            yield step, arrays

    def cut_training(directory, *args, **kwargs):
        if directory.name == "step_1":
            raise Cut
        return training(directory, *args, **kwargs)

    for name, cut in (("prefetch", cut_loading), ("train", cut_training)):
        with monkeypatch.context() as patch:
            patch.setattr(repelled, name, cut)
            with pytest.raises(Cut):
                buc.run(config("buc"), workdir)
    assert (workdir / "reid_buc" / "step_0" / "done.json").exists()
    buc.run(config("buc"), workdir)
    check_same(finished_buc, workdir, "reid_buc")


def test_pul_cut_and_continued_with_other_labels_ends_with_the_same_bytes(
    finished_pul, tmp_path, monkeypatch, quick_compiler, other_labels
):
    """Cut between the clusters of round 2 and the training on them."""
    workdir = begun_again(finished_pul, tmp_path / "again", "reid_pul")
    selecting = pul.select

    def cut(run, network, t, options):
        found = selecting(run, network, t, options)
        if t == 2:
            raise Cut
        return found

    with monkeypatch.context() as patch:
        patch.setattr(pul, "select", cut)
        with pytest.raises(Cut):
            pul.run(config("pul"), workdir)
    assert (workdir / "reid_pul" / "round_1" / "done.json").exists()
    pul.run(config("pul"), workdir)
    check_same(finished_pul, workdir, "reid_pul")
