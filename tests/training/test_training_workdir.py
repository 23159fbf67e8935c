"""Stages on disk: once, continued, refused."""

import json

import pytest

from jaxreid.training import WorkdirError, run_once
from jaxreid.training.workdir import probe


def test_a_stage_runs_once_and_is_continued_after_a_crash(tmp_path):
    calls = []

    def crash():
        calls.append("crash")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run_once(tmp_path / "s", {"a": 1}, crash)
    first = run_once(tmp_path / "s", {"a": 1}, lambda: calls.append("made"))
    second = run_once(tmp_path / "s", {"a": 1}, lambda: calls.append("again"))
    assert calls == ["crash", "made"] and first == second
    assert first != run_once(tmp_path / "other", {"a": 2}, lambda: None)


def test_other_settings_are_refused_by_name_before_and_after_completion(tmp_path):
    for make in (lambda: None, lambda: 1 / 0):
        directory = tmp_path / str(make)
        try:
            run_once(directory, {"gan": {"rate": 0.1, "width": 8}, "seed": 0}, make)
        except ZeroDivisionError:
            pass
        kept = (directory / "settings.json").read_text()
        with pytest.raises(WorkdirError) as error:
            run_once(directory, {"gan": {"rate": 0.2, "width": 8}, "seed": 0}, lambda: None)
        message = str(error.value)
        assert "gan.rate: 0.1 there, 0.2 now" in message and "width" not in message
        assert "--workdir" in message and (directory / "settings.json").read_text() == kept


def test_tuples_and_lists_are_the_same_setting(tmp_path):
    run_once(tmp_path, {"size": (2, 3)}, lambda: None)
    run_once(tmp_path, {"size": [2, 3]}, lambda: None)
    assert json.loads((tmp_path / "done.json").read_text()) == {"size": [2, 3]}


def test_a_place_that_cannot_be_written_is_found_out_at_once(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(WorkdirError, match="cannot be written.*--workdir"):
        probe(tmp_path / "file" / "run")
