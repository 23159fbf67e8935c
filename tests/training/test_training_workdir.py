"""Stages on disk: once, continued, refused."""

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxreid.training import WorkdirError, run_once
from jaxreid.training.workdir import probe, share


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


def runs_of(root):
    """``stage(path, settings)`` makes the stage or not; ``calls`` lists what was made."""
    calls = []

    def stage(path, settings):
        def make():
            calls.append(path)
            (root / path / "result.txt").write_text(path)

        return run_once(root / path, settings, make)

    return stage, calls


def test_a_finished_stage_is_taken_from_another_run(tmp_path, capsys):
    share(tmp_path)
    stage, calls = runs_of(tmp_path)
    first = stage("a/generated/c1_to_c2", {"s": (1, 2)})
    second = stage("deeper/b/generated/c1_to_c2", {"s": [1, 2]})
    assert calls == ["a/generated/c1_to_c2"] and first == second
    link = tmp_path / "deeper/b/generated/c1_to_c2"
    assert link.readlink().as_posix() == "../../../a/generated/c1_to_c2"
    assert (link / "result.txt").read_text() == "a/generated/c1_to_c2"
    assert capsys.readouterr().out.startswith("c1_to_c2: taken from ")
    stage("c/generated/c1_to_c2", {"s": [1, 2]})
    assert (tmp_path / "c/generated/c1_to_c2").readlink().parts[2] == "a"  # no link to a link
    stage("deeper/b/generated/c1_to_c2", {"s": [1, 2]})
    assert len(calls) == 1 and capsys.readouterr().out.count("taken from") == 1
    with pytest.raises(WorkdirError, match="s: "):
        stage("deeper/b/generated/c1_to_c2", {"s": [1, 3]})


def test_folders_that_vanish_while_stages_are_looked_for_are_passed_over(tmp_path, monkeypatch):
    """Other runs of the shared root rename and remove folders all the time."""
    share(tmp_path)
    stage, calls = runs_of(tmp_path)
    stage("a/gan", {"s": 1})
    (tmp_path / "b/half-written").mkdir(parents=True)
    scan = os.scandir

    def vanishing(path):
        if str(path).endswith("half-written"):
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    stage("c/gan", {"s": 1})
    assert calls == ["a/gan"] and (tmp_path / "c/gan").is_symlink()


def test_only_finished_stages_of_equal_name_and_settings_are_taken(tmp_path):
    share(tmp_path)
    stage, calls = runs_of(tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_once(tmp_path / "a/gan", {"s": 1}, lambda: 1 / 0)
    stage("b/gan", {"s": 1})  # unfinished in a
    stage("c/gan", {"s": 2})  # other settings
    stage("d/other", {"s": 1})  # another name
    (tmp_path / "e/gan").mkdir(parents=True)
    stage("e/gan", {"s": 1})  # begun here already
    assert calls == ["b/gan", "c/gan", "d/other", "e/gan"]
    stage("a/gan", {"s": 1})  # continued where it was begun, not replaced
    assert calls[-1] == "a/gan" and not (tmp_path / "a/gan").is_symlink()


def test_two_runs_that_come_to_a_stage_inside_a_shared_one_make_it_once(tmp_path):
    share(tmp_path)
    stage, calls = runs_of(tmp_path)
    stage("a/net", {"s": 1})
    stage("b/net", {"s": 1})
    begun = threading.Barrier(2)

    def test(run):
        def make():
            calls.append(run)
            time.sleep(0.3)
            (tmp_path / run / "net/test/vectors").write_text("whole")

        begun.wait()
        run_once(tmp_path / run / "net/test", {"t": 1}, make)
        assert (tmp_path / run / "net/test/vectors").read_text() == "whole"

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(test, ["a", "b"]))
    assert len(calls) == 2 and calls[0] == "a/net"


def test_a_finished_stage_that_lost_its_settings_is_still_compared(tmp_path):
    run_once(tmp_path / "gan", {"s": 1}, lambda: None)
    (tmp_path / "gan/settings.json").unlink()
    with pytest.raises(WorkdirError, match="s: 1 there, 2 now"):
        run_once(tmp_path / "gan", {"s": 2}, lambda: None)
    run_once(tmp_path / "gan", {"s": 1}, lambda: 1 / 0)


def test_nothing_is_taken_without_the_mark(tmp_path):
    stage, calls = runs_of(tmp_path)
    stage("a/gan", {"s": 1})
    share(tmp_path / "marked")
    stage("marked/gan", {"s": 1})
    stage("b/gan", {"s": 1})
    assert calls == ["a/gan", "marked/gan", "b/gan"]
    share(tmp_path)
    stage("marked/c/gan", {"s": 1})  # the outermost mark counts
    assert len(calls) == 3 and (tmp_path / "marked/c/gan").is_symlink()


def test_a_link_whose_stage_was_deleted_is_made_anew(tmp_path):
    share(tmp_path)
    stage, calls = runs_of(tmp_path)
    stage("a/gan", {"s": 1})
    stage("b/gan", {"s": 1})
    shutil.rmtree(tmp_path / "a")
    stage("b/gan", {"s": 1})
    assert calls == ["a/gan", "b/gan"] and not (tmp_path / "b/gan").is_symlink()
    stage("a/gan", {"s": 1})
    assert (tmp_path / "a/gan").resolve() == tmp_path / "b/gan"


def test_links_hold_when_the_work_directory_is_itself_a_link_and_when_it_moves(tmp_path):
    (tmp_path / "disk/deep").mkdir(parents=True)
    (tmp_path / "runs").symlink_to("disk/deep")
    share(tmp_path / "runs")
    stage, calls = runs_of(tmp_path)
    stage("runs/a/gan", {"s": 1})
    stage("runs/b/gan", {"s": 1})
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere/deep/b/gan/result.txt"
    assert calls == ["runs/a/gan"] and moved.read_text() == "runs/a/gan"


def test_where_links_cannot_be_made_the_stage_is(tmp_path, monkeypatch):
    share(tmp_path)
    stage, calls = runs_of(tmp_path)
    stage("a/gan", {"s": 1})

    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    stage("b/gan", {"s": 1})
    assert calls == ["a/gan", "b/gan"]


def finished(directory):
    """A stage with a result, another stage inside it, and files that may change."""

    def make():
        (directory / "samples").mkdir()
        for name in ("features.npy", "metrics.jsonl", "samples/1.png"):
            (directory / name).write_bytes(b"0123")
        run_once(directory / "inner", {}, lambda: (directory / "inner/a").write_bytes(b"0"))

    run_once(directory, {"a": 1}, make)
    return directory


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b"0122"), lambda p: p.unlink()])
def test_a_finished_stage_that_was_damaged_is_refused_by_file(tmp_path, spoil):
    stage = finished(tmp_path / "stage")
    spoil(stage / "features.npy")
    with pytest.raises(WorkdirError, match=r"features\.npy is missing or not .*delete the folder"):
        run_once(stage, {"a": 1}, lambda: None)
    shutil.rmtree(stage)
    finished(stage)
    run_once(stage, {"a": 1}, lambda: 1 / 0)


def test_what_results_do_not_depend_on_and_stages_inside_may_change(tmp_path):
    stage = finished(tmp_path / "stage")
    for name in ("metrics.jsonl", "samples/1.png", "inner/a"):
        (stage / name).write_bytes(b"other")
    run_once(stage, {"a": 1}, lambda: 1 / 0)
    with pytest.raises(WorkdirError, match="inner/a is missing or not"):
        run_once(stage / "inner", {}, lambda: None)


@pytest.mark.parametrize("file", ["settings.json", "seal.json"])
def test_damaged_notes_of_a_stage_are_named(tmp_path, file):
    stage = finished(tmp_path / "stage")
    (stage / file).write_bytes((stage / file).read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{file} is damaged .*delete the folder"):
        run_once(stage, {"a": 1}, lambda: None)


def test_stages_of_before_there_were_seals_are_taken(tmp_path):
    stage = finished(tmp_path / "stage")
    (stage / "seal.json").unlink()
    run_once(stage, {"a": 1}, lambda: 1 / 0)


def test_damage_behind_a_link_names_the_folder_and_not_the_link(tmp_path):
    share(tmp_path)
    finished(tmp_path / "first/stage")
    run_once(tmp_path / "second/stage", {"a": 1}, lambda: 1 / 0)
    (tmp_path / "first/stage/features.npy").unlink()
    with pytest.raises(WorkdirError, match=f"delete the folder {tmp_path}/first/stage,"):
        run_once(tmp_path / "second/stage", {"a": 1}, lambda: None)
