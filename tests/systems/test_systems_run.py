"""Whole runs at scale ``tiny``: what they leave, that they repeat, that a kill changes nothing."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from jaxreid import data
from jaxreid.stages import inference

ROOT = Path(__file__).parents[2]


one_and_all = pytest.mark.parametrize(
    "system",
    [
        "ide",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                *("camstyle", "lsro", "faketriplet", "unitystyle"),
                *("ptgan", "spgan", "crgan", "m2m", "mmd", "hhl", "taudl", "pul", "buc"),
                *("pngan", "ce2l"),
            )
        ),
    ],
)


def command(system, workdir):
    return [
        sys.executable,
        "launch.py",
        f"--config=configs/{system}.py:tiny",
        f"--workdir={workdir}",
    ]


def run(system, workdir):
    done = subprocess.run(command(system, workdir), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def camstyle(place):
    workdir = place("camstyle")
    return workdir, run("camstyle", workdir)


def test_camstyle_goes_from_images_to_report(camstyle):
    workdir, said = camstyle
    results = json.loads((workdir / "results.json").read_text())
    assert list(results["arms"]) == ["baseline", "camstyle", "jitter", "oracle"]
    for scores in results["arms"].values():
        assert 0 <= scores["mAP_trapezoid"] <= scores["mAP"] <= 1
        assert 0 <= scores["rank-1"] <= scores["rank-5"] <= scores["rank-10"] <= 1
    page = (workdir / "report.html").read_text()
    assert "Each camera to each" in page and "Camera pairs" in page
    assert "Generated images" in page
    assert "oracle" in said and str(workdir / "report.html") in said
    for pair in ("1_2", "1_3", "2_3"):
        assert list((workdir / f"cyclegan/pair_{pair}/samples").glob("*.png"))
    parts = {p.name for p in (workdir / "generated").iterdir()}
    assert parts == {f"c{a}_to_c{b}" for a in "123" for b in "123" if a != b}


def test_arms_of_several_networks_say_how_far_these_are_apart(tmp_path, monkeypatch):
    """Two devices take three networks: one each, then the last one together."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    options = ["--config.reid.seeds=3"]
    done = tiny.launch("ide", tmp_path, *options)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "results.json").read_text())
    networks = [one["mAP"] for one in found["networks"]["baseline"]]
    assert len(set(networks)) == 3
    mean, spread = np.mean(networks), np.std(networks, ddof=1)
    assert found["arms"]["baseline"]["mAP"] == pytest.approx(mean)
    assert found["spread"]["baseline"]["mAP"] == pytest.approx(spread)
    assert f"{100 * mean:.1f} ±{100 * spread:.1f}" in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert "Every arm has 3 re-ID networks" in page and "the first of 3 networks" in page
    assert "one standard deviation over seeds" in page
    tiny.check_idle("ide", tmp_path, *options)

    arm = tmp_path / "reid_baseline"
    query = data.load(tmp_path / "records/tfds", (32, 16))["query"]
    images = query.images(np.arange(len(query)))
    for seed, place in enumerate(("seed_0_1/seed_0", "seed_0_1/seed_1", "seed_2")):
        network = inference.load(arm, seed)
        stored = np.load(arm / place / "test/query.npy")
        np.testing.assert_allclose(network(images), stored, atol=1e-4)
    for seed in (None, 3):
        with pytest.raises(ValueError, match=r"networks with the seeds \[0, 1, 2\]: name one"):
            inference.load(arm, seed)


def test_a_trained_network_looks_at_images_of_ones_own(camstyle):
    workdir, _ = camstyle
    query = data.load(workdir / "records/tfds", (32, 16))["query"]
    network = inference.load(workdir / "reid_camstyle")
    assert network.size == (32, 16)
    vectors = network(query.images(np.arange(len(query))), batch=5)
    found = np.load(workdir / "reid_camstyle/test/query.npy")  # by other operations: less optimised
    np.testing.assert_allclose(vectors, found, atol=1e-5)
    with pytest.raises(ValueError, match=r"Expected uint8 images \[n, 32, 16, 3\], got float"):
        network(np.zeros((1, 32, 16, 3)))


def test_what_is_no_trained_network_is_refused(camstyle, tmp_path):
    workdir, _ = camstyle
    for folder, message in (
        (tmp_path, "is no finished stage of a run"),
        (workdir / "cyclegan/pair_1_2", "no re-ID network that learned identities"),
    ):
        with pytest.raises(ValueError, match=message):
            inference.load(folder)


def test_judges_score_generated_images_and_choose_the_checkpoint(camstyle):
    workdir, said = camstyle
    quality = json.loads((workdir / "results.json").read_text())["quality"]
    assert set(quality) == {"real", "untranslated", "camstyle", "truth"}
    for name in ("untranslated", "camstyle", "truth"):
        assert all(0 <= quality[name][key] <= 1 for key in ("identity", "recognised", "style"))
    choice = json.loads((workdir / "cyclegan/choice/choice.json").read_text())
    assert set(choice["scores"]) == {"5", "6"}  # of 6 steps
    for pair in ("1_2", "1_3", "2_3"):
        kept = workdir / f"cyclegan/pair_{pair}/checkpoints"
        assert {"5", "6"} <= {p.name for p in kept.iterdir()}
    # Scored again from the written images, the chosen step has the score that it was chosen for.
    assert quality["camstyle"]["identity"] == choice["scores"][str(choice["step"])]
    assert said.count("<- chosen") == 1


def test_a_stargan_takes_the_place_of_the_cyclegans(camstyle, tmp_path):
    shutil.copytree(camstyle[0], tmp_path, dirs_exist_ok=True)
    for stage in ("generated", "quality", "reid_camstyle"):
        shutil.rmtree(tmp_path / stage)
    options = ["--config.translator=stargan", "--config.stargan.candidates=2"]
    done = subprocess.run(
        [*command("camstyle", tmp_path), *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "reid_baseline" not in done.stdout and done.stdout.count("<- chosen") == 1
    chosen = json.loads((tmp_path / "stargan/choice/choice.json").read_text())
    quality = json.loads((tmp_path / "results.json").read_text())["quality"]
    assert quality["camstyle"]["identity"] == chosen["scores"][str(chosen["step"])]
    assert set(chosen["scores"]) == {"6", "8"}  # of 8 steps


def test_candidates_without_judges_are_refused_before_any_work(tmp_path):
    options = ["--config.camstyle.judge=False", "--config.gan.candidates=2"]
    done = subprocess.run(
        [*command("camstyle", tmp_path), *options], cwd=ROOT, capture_output=True, text=True
    )
    assert (
        done.returncode == 1 and "gan.candidates is 2, but the option judge is off" in done.stderr
    )
    assert not (tmp_path / "world").exists()


def test_a_finished_run_is_not_done_again_and_gives_equal_files(camstyle):
    workdir, _ = camstyle
    before = {p: p.read_bytes() for p in (workdir / "results.json", workdir / "report.html")}
    said = run("camstyle", workdir)
    assert "steps/s" not in said
    assert before == {p: p.read_bytes() for p in before}


def test_reranked_scores_stand_beside_the_plain_ones(camstyle, tmp_path):
    shutil.copytree(camstyle[0], tmp_path, dirs_exist_ok=True)
    plain = json.loads((tmp_path / "results.json").read_text())["arms"]
    done = tiny.launch("camstyle", tmp_path, "--config.rerank=True")
    assert done.returncode == 0 and "steps/s" not in done.stdout, done.stderr[-2000:]
    arms = json.loads((tmp_path / "results.json").read_text())["arms"]
    for name, scores in plain.items():
        again = arms[name].pop("reranked")
        beside = {key: arms[name].pop(f"{key}_reranked") for key in ("rank-1", "mAP")}
        assert arms[name] == scores and beside.items() <= again.items()
        assert again["mAP"] != scores["mAP"] and again["protocol"]["reranking"]["k1"] == 20
    for text in (done.stdout, (tmp_path / "report.html").read_text()):
        assert "mAP re-ranked" in text and "k-reciprocal, k1 20, k2 6" in text


def test_a_workdir_of_other_settings_is_refused_by_field(camstyle):
    workdir, _ = camstyle
    done = subprocess.run(
        [*command("camstyle", workdir), "--config.gan.rate=0.5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "gan.rate: 0.0002 there, 0.5 now" in done.stderr


def test_a_second_run_in_the_same_workdir_is_refused_until_the_first_is_gone(tmp_path):
    first = subprocess.Popen(
        [*command("ide", tmp_path), "--config.reid.epochs=100000"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert first.stdout is not None and b"ide in" in first.stdout.readline()
    while not (tmp_path / ".lock").exists():
        time.sleep(0.05)
    second = subprocess.run(command("ide", tmp_path), cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 1 and f"another run works in {tmp_path}" in second.stderr
    first.kill()
    first.wait()
    third = subprocess.run(
        [*command("ide", tmp_path), "--config.data.world.seed=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "another run" not in third.stderr


def kill_until_done(system, workdir, signals, seed, longest):
    """Runs the command, killing it after random times, until it ends by itself."""
    rng = random.Random(seed)
    kills = 0
    while True:
        process = subprocess.Popen(
            command(system, workdir), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            assert process.wait(rng.uniform(3, longest) if kills < len(signals) else None) == 0
            return kills
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signals[kills])
            process.wait()
            kills += 1
            time.sleep(0.1)


def test_ide_killed_and_continued_ends_with_equal_results(tmp_path):
    run("ide", tmp_path / "whole")
    signals = [signal.SIGKILL, signal.SIGTERM]
    assert kill_until_done("ide", tmp_path / "cut", signals, seed=1, longest=14) > 0
    whole, cut = ((tmp_path / d / "results.json").read_bytes() for d in ("whole", "cut"))
    assert whole == cut


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_camstyle_killed_and_continued_ends_with_equal_results(camstyle, tmp_path, seed):
    signals = [signal.SIGKILL, signal.SIGTERM] * 4
    assert kill_until_done("camstyle", tmp_path, signals, seed, longest=12) > 0
    assert (tmp_path / "results.json").read_bytes() == (camstyle[0] / "results.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "system",
    [
        *("lsro", "faketriplet", "unitystyle"),
        *("ptgan", "spgan", "crgan", "m2m", "mmd", "hhl", "taudl", "pul", "buc"),
        *("pngan", "ce2l"),
    ],
)
def test_systems_killed_and_continued_end_with_equal_results(tmp_path, system):
    run(system, tmp_path / "whole")
    signals = [signal.SIGKILL, signal.SIGTERM] * 4
    assert kill_until_done(system, tmp_path / "cut", signals, seed=0, longest=15) > 0
    whole, cut = ((tmp_path / d / "results.json").read_bytes() for d in ("whole", "cut"))
    assert whole == cut


@one_and_all
def test_systems_train_in_one_shard_per_device(tmp_path, system):
    options = ["--config.parallel=pmap", *tiny.EVEN.get(system, [])]
    done = subprocess.run(
        [*command(system, tmp_path), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    stages = [json.loads(path.read_text()) for path in tmp_path.rglob("settings.json")]
    assert stages and all(stage["shards"] == 2 for stage in stages)
    done = subprocess.run(command(system, tmp_path), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "shards: 2 there, absent now" in done.stderr


# Seen by a network that was trained before, begun with one, or of images that one made.
LEARNED = {
    ("translator", "g_identity"),
    ("reid_taudl", "ccta"),
    ("reid_taudl", "pctd"),
    ("reid_ce2l", "ranked_right"),
}


@one_and_all
def test_systems_compute_in_bfloat16(tmp_path, system):
    said = {}
    for dtype in ("float32", "bfloat16"):
        options = [f"--config.dtype={dtype}", *tiny.EVEN.get(system, [])]
        given = command(system, tmp_path / dtype) + options
        done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        logs = sorted((tmp_path / dtype).rglob("metrics.jsonl"))
        said[dtype] = {path.parent.name: first(path) for path in logs}
    stages = [json.loads(path.read_text()) for path in tmp_path.rglob("bfloat16/**/settings.json")]
    assert stages and all(stage["dtype"] == "bfloat16" for stage in stages)
    assert said["float32"].keys() == said["bfloat16"].keys() and said["float32"]
    for stage, before in said["float32"].items():
        after = said["bfloat16"][stage]
        assert after.keys() == before.keys() and after != before
        for term in (term for term in before if (stage, term) not in LEARNED):
            off = abs(after[term] - before[term])
            assert off <= 0.05 * abs(before[term]) + 0.02, (stage, term)


def first(path):
    """What a training said of its first step, taken from equal parameters."""
    with path.open() as lines:
        return json.loads(next(lines))
