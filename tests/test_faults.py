"""The judge of ``make faults``: a doctored result is called wrong, and so is an unclear error."""

import json

import numpy as np
import pytest

from benchmarks.faults_judge import (
    CLEAR,
    IDENTICAL,
    LATE,
    WRONG,
    contents,
    differences,
    in_time,
    table,
    verdict,
)
from jaxreid.data import generated, write_generated
from jaxreid.training import checkpoints


def finished(workdir, score=0.5, weight=1.0, feature=2.0, pixel=3):
    (workdir / "stage").mkdir(parents=True)
    (workdir / "results.json").write_text(json.dumps({"mAP": score}))
    np.save(workdir / "stage/query.npy", np.full(3, feature))
    saver = checkpoints.Checkpoints(workdir / "stage/checkpoints")
    for step in (2, 10):
        saver.save(step, {"w": np.full((2, 2), weight if step == 10 else 0, np.float32)})
    saver.close()
    image = np.full((8, 4, 3), pixel, np.uint8)
    record = generated(image, pid=1, camera=0, domain="w", name="a", source="", style=1)
    write_generated(workdir / "made", {"train": [record]})
    return contents(workdir)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("whole") / "run")


def test_equal_runs_are_identical(whole, tmp_path):
    assert differences(whole, finished(tmp_path / "run")) == []
    assert verdict(0, "", [], tmp_path, [])[0] == IDENTICAL


@pytest.mark.parametrize(
    ("doctored", "place"),
    [
        ({"score": np.nextafter(0.5, 1)}, "results.json"),
        ({"weight": np.nextafter(np.float32(1), np.float32(2))}, "stage/checkpoints/10"),
        ({"feature": np.nextafter(2.0, 3)}, "stage/query.npy"),
        ({"pixel": 4}, "made/dataset_info.json"),
    ],
    ids=["score", "weight", "feature", "pixel"],
)
def test_a_doctored_result_is_wrong(whole, tmp_path, doctored, place):
    found = finished(tmp_path / "run", **doctored)
    other = differences(whole, found)
    assert other == [place]
    assert verdict(0, "", other, tmp_path, [])[0] == WRONG
    assert differences(whole, {k: v for k, v in found.items() if k != place}) == [place]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("world: ...\nerror: {workdir}/stage/query.npy is damaged", CLEAR),
        ("error: the records in {workdir}/stage cannot be read", CLEAR),
        ("error: the work directory {workdir} is odd", WRONG),
        ("error: out of range", WRONG),
        ("{workdir}/stage/query.npy\nerror: out of range", WRONG),
        ("Traceback (most recent call last):\nerror: {workdir}/stage/query.npy", WRONG),
        ("", WRONG),
    ],
)
def test_an_error_is_clear_if_it_names_what_was_damaged(tmp_path, said, outcome):
    damaged = tmp_path / "stage/query.npy"
    said = said.format(workdir=tmp_path)
    assert verdict(1, said, [], tmp_path, [damaged])[0] == outcome
    assert verdict(1, said, [], tmp_path, [])[0] == WRONG


def test_the_table_counts_outcomes_and_what_came_too_late_apart():
    outcomes = [in_time(each, hit) for each in (IDENTICAL, WRONG) for hit in (True, False)]
    assert outcomes == [IDENTICAL, LATE, WRONG, WRONG]
    trials = [{"system": "ide", "fault": "kill", "outcome": each} for each in outcomes]
    assert table(trials).splitlines()[2:] == ["| ide | kill | 3 | 1 | 0 | 2 | 1 |"]
