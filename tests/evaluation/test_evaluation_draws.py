"""SYSU-MM01's galleries and RegDB's trials, by the official evaluation and picture by picture."""

import json
import random
from dataclasses import replace
from pathlib import Path

import evaluation_oracle as oracle
import numpy as np
import pytest
from scipy.io import savemat

from jaxreid.evaluation import (
    REGDB,
    SYSU_ALL,
    SYSU_ALL_MULTI,
    SYSU_INDOOR,
    SYSU_INDOOR_MULTI,
    Draw,
    Embedded,
    Protocol,
    average,
    deviations,
    drawn,
    draws,
    evaluate,
    load_permutations,
)
from jaxreid.evaluation.scores import MEASURES

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation_sysu.json"
CASES = json.loads(GOLDEN.read_text())["cases"]
MODES = {
    "all_1": SYSU_ALL,
    "all_10": SYSU_ALL_MULTI,
    "indoor_1": SYSU_INDOOR,
    "indoor_10": SYSU_INDOOR_MULTI,
}
by_mode = pytest.mark.parametrize(("mode", "protocol"), MODES.items(), ids=list(MODES))


def problem_of(case):
    pictures, probes, pool, permutations = oracle.sysu_problem(case["seed"])
    sums = [
        [float(p.embeddings.sum()), int(p.pids.sum()), int(p.cameras.sum())] for p in (probes, pool)
    ]
    assert sums == case["sums"], "this NumPy draws other random numbers: make the golden file anew"
    return pictures, probes, pool, permutations


@pytest.fixture(scope="module")
def problem():
    return oracle.sysu_problem(7)[1:]


def written(path, permutations):
    """The permutations as the authors' file holds them: cells of cells of bytes."""
    cells = np.empty((len(permutations), 1), object)
    for camera, people in enumerate(permutations):
        cells[camera, 0] = np.empty((len(people), 1), object)
        for person, order in enumerate(people):
            cells[camera, 0][person, 0] = order.astype(np.uint8)
    savemat(path, {"rand_perm_cam": cells})
    return path


# --- the official evaluation ------------------------------------------------------------------


@by_mode
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_sysu_equals_the_official_evaluation(case, mode, protocol, proof, tmp_path):
    _, probes, pool, permutations = problem_of(case)
    read = load_permutations(written(tmp_path / "rand_perm_cam.mat", permutations))
    trials = drawn(pool, protocol.draw, read)
    scores = evaluate(probes, pool, replace(protocol, normalize=False), trials=trials)
    expected = case[mode]
    assert (scores.gallery_size, scores.trials) == (expected["gallery"], 10)
    curve = np.abs(np.array(scores.cmc[: len(expected["cmc"])]) - expected["cmc"]).max()
    errors = [curve, abs(scores.mean_ap - expected["mAP"])]
    official = "the MATLAB code of SYSU-MM01's authors, run by Octave, on saved cases"
    proof("SYSU-MM01: CMC and mAP of four protocols, ten trials", official, max(errors), 1e-9)
    assert scores.mean_inp == pytest.approx(expected["mINP"], abs=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_regdb_equals_peers_in_both_directions(case, proof):
    pictures = problem_of(case)[0]
    seen = [np.unique(pictures.pids[pictures.cameras == camera]) for camera in (0, 5)]
    both = np.isin(pictures.pids, np.intersect1d(*seen))
    visible, thermal = (pictures.take(both & (pictures.cameras == camera)) for camera in (0, 5))
    directions = {"visible_thermal": (visible, thermal), "thermal_visible": (thermal, visible)}
    for name, (query, gallery) in directions.items():
        scores, expected = evaluate(query, gallery, replace(REGDB, normalize=False)), case[name]
        curve = np.abs(np.array(scores.cmc[: len(expected["cmc"])]) - expected["cmc"]).max()
        errors = [curve, abs(scores.mean_ap - expected["mAP"])]
        errors.append(abs(scores.mean_inp - expected["mINP"]))
        peer = "eval_regdb of Cross-Modal-Re-ID-baseline on saved cases"
        proof("RegDB: CMC, mAP and mINP, both directions", peer, max(errors), 1e-6)


@by_mode
def test_every_protocol_equals_brute_force(problem, mode, protocol):
    probes, pool, permutations = problem
    draw = protocol.draw
    galleries = oracle.sysu_galleries(pool, draw.cameras, draw.shots, permutations)
    trials = drawn(pool, draw, permutations)
    assert [sorted(rows.tolist()) for rows in trials] == galleries
    slow = [oracle.score_all(probes, pool.take(rows), protocol) for rows in galleries]
    scores = evaluate(probes, pool, protocol, trials=trials)
    assert scores.valid_queries == min(valid for valid, _ in slow)
    means = [np.mean([each[field] for _, each in slow], axis=0) for field in range(4)]
    np.testing.assert_allclose(scores.cmc, means[0], atol=1e-12)
    got = [scores.mean_ap, scores.mean_ap_trapezoid, scores.mean_inp]
    np.testing.assert_allclose(got, means[1:], atol=1e-12)


def test_sysu_protocols_hide_camera_2_from_queries_of_camera_3_alone():
    """Cameras 1, 2 (indices 0, 1): whoever was seen by the second only has no match."""
    gallery = Embedded(np.eye(3), [1, 2, 3], [0, 1, 1])
    query = Embedded(np.eye(3)[[0, 1, 1]], [1, 2, 2], [2, 2, 5])
    scores = evaluate(query, gallery, SYSU_INDOOR)
    assert (scores.queries, scores.valid_queries) == (3, 2)
    assert scores.rank(1) == 1


@by_mode
def test_queries_that_the_mask_does_not_know_are_refused(problem, mode, protocol):
    """With query and gallery exchanged it would hide camera 3 from a query of camera 4."""
    _, pool, permutations = problem
    trials = drawn(pool, protocol.draw, permutations)
    said = r"infrared cameras \[2, 5\] .counted from 0., but there are queries of \[0, 1, 3, 4\]"
    with pytest.raises(ValueError, match=said):
        evaluate(pool, pool, protocol, trials=trials)
    evaluate(pool, pool, replace(protocol, draw=None))  # cameras may be counted from 1 there


# --- sizes ------------------------------------------------------------------------------------


@by_mode
def test_sizes_of_the_official_galleries(mode, protocol):
    """96 people, of whom the visible cameras saw 56, 56, 94 and 95."""
    seen = {0: range(56), 1: range(56), 3: range(94), 4: range(1, 96)}
    rows = [
        (pid + 1, camera) for camera, people in seen.items() for pid in people for _ in "x" * 13
    ]
    pids, cameras = np.array(rows).T
    pool = Embedded(np.zeros((len(rows), 1)), pids, cameras)
    sizes = {"all_1": 301, "all_10": 3010, "indoor_1": 112, "indoor_10": 1120}
    trials = drawn(pool, protocol.draw)
    assert [len(np.unique(rows)) for rows in trials] == [sizes[mode]] * 10
    assert len({tuple(rows) for rows in trials}) == 10


# --- without the authors' file ----------------------------------------------------------------


def test_python_draws_these_pictures_for_ever():
    generator = random.Random(0)
    assert [generator.choice(range(20)) for _ in range(8)] == [12, 13, 1, 8, 16, 15, 12, 9]
    sizes = (29, 20, 18, 13, 40, 20)
    pids = np.repeat([3, 3, 4, 4, 9, 9], sizes)
    cameras = np.repeat([0, 1, 0, 1, 0, 1], sizes)
    shuffled = np.lexsort((pids, cameras))  # cameras first, as splits have them
    pool = Embedded(np.zeros((140, 1)), pids[shuffled], cameras[shuffled])
    first = drawn(pool, Draw((0, 1), 1))[0]
    keys = zip(pool.pids[first].tolist(), pool.cameras[first].tolist(), strict=True)
    assert list(keys) == [(3, 0), (3, 1), (4, 0), (4, 1), (9, 0), (9, 1)]
    own = [
        np.flatnonzero((pool.pids == pool.pids[row]) & (pool.cameras == pool.cameras[row])).tolist()
        for row in first
    ]
    assert [rows.index(row) for rows, row in zip(own, first, strict=True)] == [
        27,
        12,
        13,
        0,
        16,
        16,
    ]


def test_the_fallback_is_said_once_and_the_same_every_time(problem, capsys):
    probes, pool, permutations = problem
    draws._announce.cache_clear()
    drawn(pool, SYSU_ALL.draw, permutations)
    assert not capsys.readouterr().out
    scores = [evaluate(probes, pool, SYSU_ALL) for _ in range(2)]
    assert scores[0] == scores[1] and scores[0].trials == 10
    said = capsys.readouterr().out
    assert said.count("note: galleries are drawn by Python's random.Random(trial)") == 1
    assert scores[0] == evaluate(probes, pool, SYSU_ALL, trials=drawn(pool, SYSU_ALL.draw))


def test_ten_shots_are_ten_pictures(problem):
    pool = problem[1]
    for rows in drawn(pool, SYSU_ALL_MULTI.draw):
        keys = np.stack([pool.pids[rows], pool.cameras[rows]], axis=1)
        assert (np.unique(keys, axis=0, return_counts=True)[1] == 10).all()
        assert len(np.unique(rows)) == len(rows)


# --- errors -----------------------------------------------------------------------------------


def test_galleries_that_the_protocol_cannot_draw_are_refused(problem):
    probes, pool, permutations = problem
    every = [np.arange(len(pool))]
    with pytest.raises(ValueError, match=r"up to 14 pictures per person .* draws 1 of the cameras"):
        evaluate(probes, pool, SYSU_ALL, trials=every)
    with pytest.raises(
        ValueError, match=r"cameras \[0, 1, 3, 4\] .* draws 1 of the cameras \[0, 1"
    ):
        evaluate(probes, pool, SYSU_INDOOR, trials=drawn(pool, SYSU_ALL.draw, permutations))
    official = Embedded(pool.embeddings, pool.pids, pool.cameras + 1)
    with pytest.raises(ValueError, match=r"no pictures of the cameras \[0, 3\].*counted from 0"):
        evaluate(probes, official, SYSU_ALL)
    with pytest.raises(ValueError, match=r"draws 10 .* fewer of person 5 in camera 0 \(1 cases\)"):
        drawn(pool.take(np.arange(5, len(pool))), SYSU_ALL_MULTI.draw)


def test_permutations_of_other_pictures_are_refused(problem):
    _, pool, permutations = problem
    with pytest.raises(ValueError, match=r"for person 5 in camera 0 .* holds \d+ pictures"):
        drawn(pool.take(np.arange(1, len(pool))), SYSU_ALL.draw, permutations)
    stranger = Embedded(pool.embeddings, pool.pids + 100, pool.cameras)
    with pytest.raises(ValueError, match="have 0 trials of 0 pictures for person 102"):
        drawn(stranger, SYSU_ALL.draw, permutations)
    with pytest.raises(ValueError, match="10 trials of .* 11 trials are drawn"):
        drawn(pool, Draw((0, 1), 1, trials=11), permutations)


def test_other_files_than_the_permutations_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="rand_perm_cam.mat of SYSU-MM01"):
        load_permutations(tmp_path / "rand_perm_cam.mat")
    (tmp_path / "text.mat").write_text("no matrix at all")
    savemat(tmp_path / "other.mat", {"id": np.arange(3)})
    savemat(tmp_path / "flat.mat", {"rand_perm_cam": np.arange(3)})
    for name in ("text.mat", "other.mat", "flat.mat"):
        with pytest.raises(ValueError, match=f"{name} is not rand_perm_cam.mat"):
            load_permutations(tmp_path / name)


@pytest.mark.parametrize("fields", [((), 1), ((0,), 0), ((0,), 1, 0)])
def test_draws_of_nothing_are_refused(fields):
    with pytest.raises(ValueError, match="draws nothing"):
        Draw(*fields)


# --- records and trials -----------------------------------------------------------------------


def test_protocols_with_draws_survive_json():
    for protocol in (REGDB, *MODES.values()):
        again = Protocol(**json.loads(json.dumps(protocol.to_dict())))
        assert again == protocol and hash(again) == hash(protocol)
    assert "draw" not in REGDB.to_dict()
    assert SYSU_INDOOR.to_dict()["draw"] == {"cameras": [0, 1], "shots": 1, "trials": 10}


def test_mean_and_spread_over_trials(problem):
    probes, pool, _ = problem
    trials = [evaluate(probes, pool.take(pool.cameras == camera), REGDB) for camera in (0, 3, 4)]
    spread, mean = deviations(trials), average(trials)
    assert tuple(spread) == MEASURES and mean.trials == 3
    for key in MEASURES:
        values = [each.to_dict()[key] for each in trials]
        assert mean.to_dict()[key] == pytest.approx(sum(values) / 3)
        square = sum((value - sum(values) / 3) ** 2 for value in values) / 2
        assert spread[key] == pytest.approx(square**0.5) and spread[key] > 0
    with pytest.raises(ValueError, match="1 trial has no spread"):
        deviations(trials[:1])
    with pytest.raises(ValueError, match="different protocols"):
        deviations([trials[0], evaluate(probes, pool, Protocol(mask="none", normalize=False))])
