"""Scores that the rank functions of torchreid 0.2.5 and fastreid 1.4.0 gave for the same inputs."""

import json
from pathlib import Path

import evaluation_oracle as oracle
import numpy as np
import pytest

from jaxreid.evaluation import Protocol, evaluate

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation_peers.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


def problem_of(case):
    problem = oracle.peer_problem(**case["inputs"])
    sums = [[float(p.embeddings.sum()), int(p.pids.sum()), int(p.cameras.sum())] for p in problem]
    assert sums == case["sums"], "this NumPy draws other random numbers: make the golden file anew"
    return problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['inputs']['seed']}")
def test_same_scores_as_the_toolkits(case):
    scores = evaluate(*problem_of(case))
    for toolkit in ("torchreid", "fastreid"):
        expected = case[toolkit]
        curve = scores.cmc[: len(expected["cmc"])]
        np.testing.assert_allclose(curve, expected["cmc"], atol=1e-6)  # theirs is float32
        assert scores.mean_ap == pytest.approx(expected["mAP"], abs=1e-12)
    assert scores.mean_inp == pytest.approx(case["fastreid"]["mINP"], abs=1e-12)


def test_exact_single_shot_is_the_limit_of_random_draws():
    case = next(case for case in CASES if "torchreid_single_shot" in case)
    scores = evaluate(*problem_of(case), Protocol(cmc="single_shot"))
    expected = case["torchreid_single_shot"]
    # 3,000 draws for each of about 20 queries: standard error below 0.002
    np.testing.assert_allclose(scores.cmc[: len(expected)], expected, atol=0.008)
