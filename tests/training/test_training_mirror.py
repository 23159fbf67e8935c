"""Work directories on object storage: another folder stands for the bucket here."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid.training import Aux, Every, Phase, Preempted, alternate, create, fit, mirror, run_once
from jaxreid.training.files import WorkdirError


def loss(nets, batch, memo, key):
    del memo
    value = jnp.square(nets["n"].params["w"] - batch["x"] - jax.random.normal(key)).sum()
    return value, Aux({"error": value})


TX = {"n": optax.adam(0.1)}
STEP = alternate([Phase(("n",), loss)], TX)


def train(directory, steps, stop=None):
    def batches(start, end):
        for step in range(start, end):
            if step == stop:
                raise Preempted("test", step)
            yield step, {"x": np.full((8, 3), step, np.float32)}

    def init():
        return create(jax.random.key(0), {"n": {"params": {"w": jnp.zeros((8, 3))}}}, TX)

    state = fit(init, STEP, batches, steps=steps, directory=directory, every=Every(1, 1, 99))
    return np.asarray(state.nets["n"].params["w"])


def files(directory):
    found = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    return {name for name in found if not name.rpartition("/")[2].startswith(".")}


def test_another_machine_goes_on_from_the_last_checkpoint(tmp_path, capsys):
    there, made = tmp_path / "bucket", []
    whole = train(tmp_path / "whole", 6)
    with pytest.raises(Preempted), mirror.kept(tmp_path / "one", str(there)):
        run_once(tmp_path / "one/data", {}, lambda: made.append(1))
        train(tmp_path / "one/net", 6, stop=4)
    assert files(there) == files(tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/left_by_another_run").touch()
    with mirror.kept(tmp_path / "two", str(there)):
        assert f"{there}: copied to" in capsys.readouterr().out
        run_once(tmp_path / "two/data", {}, lambda: made.append(2))
        assert (train(tmp_path / "two/net", 6) == whole).all()
    assert made == [1]
    assert files(there) == files(tmp_path / "two") and "net/checkpoints/6/" in str(files(there))
    lines = [(d / "net/metrics.jsonl").read_text() for d in (there, tmp_path / "two")]
    assert lines[0] == lines[1] == (tmp_path / "whole/metrics.jsonl").read_text()
    assert not (there / "left_by_another_run").exists()


def test_every_checkpoint_goes_up_once_the_next_one_begins(tmp_path):
    """A machine may be lost without a word; what it was writing is not taken for finished."""
    here, there = tmp_path / "here", tmp_path / "bucket"
    seen = []

    def batches(start, end):
        for step in range(start, end):
            listed = json.loads((there / mirror.LIST).read_text())["files"] if step > 2 else {}
            seen.append({name.split("/")[2] for name in listed if "/checkpoints/" in name})
            yield step, {"x": np.full((8, 3), step, np.float32)}

    def init():
        return create(jax.random.key(0), {"n": {"params": {"w": jnp.zeros((8, 3))}}}, TX)

    with mirror.kept(here, str(there)):
        fit(init, STEP, batches, steps=6, directory=here / "net", every=Every(1, 1, 99))
    for step, found in enumerate(seen[1:]):  # the first batch is looked at before
        assert found <= {str(s) for s in range(step + 1)}
        assert step < 3 or found & {str(step - 1), str(step - 2)}
    listed = json.loads((there / mirror.LIST).read_text())["files"]
    assert {name for name in listed if "tmp" in name} == set()
    assert set(listed) == files(there)


def test_a_copy_cut_short_is_made_anew_and_what_is_gone_goes(tmp_path):
    here, there = tmp_path / "here", tmp_path / "bucket"
    with mirror.kept(here, str(there)):
        (here / "a").mkdir(parents=True)
        (here / "a/kept").write_text("1")
        (here / "a/.hidden").write_text("2")
        (here / "gone").write_text("3")
        mirror.push()
        assert files(there) == {"a/kept", "gone"}
        (here / "gone").unlink()
        (here / "a/kept").write_text("longer")
    assert files(there) == {"a/kept"} and (there / "a/kept").read_text() == "longer"
    assert not (there / "a/.hidden").exists()
    (here / mirror.LIST).unlink()
    (here / "a/kept").write_text("half")
    with mirror.kept(here, str(there)):
        assert (here / "a/kept").read_text() == "longer"


def test_the_newest_is_continued_where_it_is(tmp_path):
    here, there = tmp_path / "here", tmp_path / "bucket"
    with mirror.kept(here, str(there)):
        (here).mkdir(exist_ok=True)
        (here / "x").write_text("pushed")
    (here / "x").write_text("done since, and not pushed")
    with mirror.kept(here, str(there)):
        assert (here / "x").read_text() == "done since, and not pushed"
    assert (there / "x").read_text() == "done since, and not pushed"


@pytest.mark.parametrize("damage", ["{", "{}", "[]", '{"generation": 1, "files": 3}'])
def test_a_damaged_list_is_named_and_what_is_said_helps(tmp_path, damage):
    here, there = tmp_path / "here", tmp_path / "bucket"
    with mirror.kept(here, str(there)):
        run_once(here / "data", {}, (here / "data/made").touch)
    (here / mirror.LIST).write_text(damage)
    with pytest.raises(WorkdirError, match=r"here/\.files\.json is damaged.*delete it"):
        mirror.kept(here, str(there)).__enter__()
    (here / mirror.LIST).unlink()
    with mirror.kept(here, str(there)):
        assert (here / "data/made").exists()
    (there / mirror.LIST).write_text(damage)
    with pytest.raises(WorkdirError, match=r"bucket/\.files\.json is damaged.*in both"):
        mirror.kept(here, str(there)).__enter__()
    (here / mirror.LIST).unlink(), (there / mirror.LIST).unlink()
    with mirror.kept(here, str(there)):
        pass
    assert files(there) == files(here) and "data/made" in str(files(there))


def test_a_list_that_is_damaged_meanwhile_stops_no_training(tmp_path, capsys):
    here, there = tmp_path / "here", tmp_path / "bucket"
    with pytest.raises(WorkdirError, match="damaged.*all is in"), mirror.kept(here, str(there)):
        run_once(here / "a", {}, (here / "a/made").touch)
        (there / mirror.LIST).write_text("{")
        run_once(here / "b", {}, (here / "b/made").touch)
        assert "not uploaded now, but with what comes next" in capsys.readouterr().out


def test_two_runs_do_not_mix(tmp_path):
    there = str(tmp_path / "bucket")
    with pytest.raises(WorkdirError, match="another run works in .*bucket: use another"):
        with mirror.kept(tmp_path / "one", there):
            with mirror.kept(tmp_path / "two", there):
                (tmp_path / "two").mkdir(exist_ok=True)
                (tmp_path / "two/x").touch()
            (tmp_path / "one").mkdir(exist_ok=True)
            (tmp_path / "one/x").touch()
    assert files(Path(there)) == {"x"}


def test_a_second_run_of_this_machine_neither_takes_nor_pushes(tmp_path):
    here, there = tmp_path / "here", tmp_path / "bucket"
    with mirror.kept(here, str(there)):
        here.mkdir(exist_ok=True)
        (here / "half").write_text("half")
        with pytest.raises(WorkdirError, match="another run works in .*here: wait for its end"):
            with mirror.kept(here, str(there)):
                raise AssertionError
        assert not there.exists() and (here / "half").exists()
        (here / "half").write_text("whole")
    assert (there / "half").read_text() == "whole"


def test_what_was_here_and_older_is_kept_beside(tmp_path, capsys):
    here, other, there = (tmp_path / name for name in ("here", "other", "bucket"))
    for place, text in ((here, "first"), (other, "newer")):
        with mirror.kept(place, str(there)):
            place.mkdir(exist_ok=True)
            (place / "x").write_text(text)
    (here / "never pushed").touch()
    with mirror.kept(here, str(there)):
        assert (here / "x").read_text() == "newer" and not (here / "never pushed").exists()
    aside = tmp_path / "here.before"
    assert (aside / "x").read_text() == "first" and (aside / "never pushed").exists()
    assert str(aside) in capsys.readouterr().out


@pytest.mark.parametrize("written", [False, True])
def test_a_storage_that_fails_once_is_tried_again(tmp_path, monkeypatch, capsys, written):
    """Before the list is up there, or after, when the answer alone was lost."""
    here, there, write = tmp_path / "here", tmp_path / "bucket", mirror.write_json

    def fails(path, value):
        monkeypatch.setattr(mirror, "write_json", write)
        raise OSError("503")

    def unread(file):
        monkeypatch.setattr(mirror, "_read", read)
        raise OSError("503")

    read = mirror._read
    with mirror.kept(here, str(there)):
        here.mkdir(exist_ok=True)
        (here / "first").touch()
        mirror.push()
        (here / "second").touch()
        monkeypatch.setattr(mirror, *(("write_json", fails) if written else ("_read", unread)))
        mirror.push()
        assert "not uploaded now" in capsys.readouterr().out
        mirror.push()
        assert files(there) == {"first", "second"}
        (here / "third").touch()
    assert files(there) == files(here) == {"first", "second", "third"}
    with mirror.kept(tmp_path / "other", str(there)):
        assert files(tmp_path / "other") == files(here)


def test_a_storage_that_fails_in_the_end_is_an_error_and_nothing_is_lost(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "bucket"

    def fails(*given):
        raise OSError("403")

    with pytest.raises(WorkdirError, match=r"bucket cannot be written \(403\); all is in .*here"):
        with mirror.kept(here, str(there)):
            here.mkdir(exist_ok=True)
            (here / "x").touch()
            monkeypatch.setattr(mirror, "_copy", fails)
    monkeypatch.undo()
    with mirror.kept(here, str(there)):
        pass
    assert files(there) == {"x"}


def test_a_data_set_is_copied_once(tmp_path, monkeypatch, capsys):
    there = tmp_path / "bucket/market"
    (there / "query").mkdir(parents=True)
    (there / "query/1.jpg").write_bytes(b"picture")
    (there / "query/2.jpg").write_bytes(b"another")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert mirror.fetched(str(there)) == there
    monkeypatch.setattr(mirror, "remote", lambda path: True)
    here = mirror.fetched(str(there))
    assert files(here) == {"query/1.jpg", "query/2.jpg"} and here.is_relative_to(tmp_path / "cache")
    assert "2 files are copied" in capsys.readouterr().out
    (here / mirror.LIST).unlink()
    (here / "query/2.jpg").write_bytes(b"cut")
    assert mirror.fetched(str(there)) == here
    assert "1 files are copied" in capsys.readouterr().out
    assert (here / "query/2.jpg").read_bytes() == b"another"
    shutil.rmtree(there)
    assert mirror.fetched(str(there)) == here and capsys.readouterr().out == ""
    there.mkdir()
    shutil.rmtree(here)
    with pytest.raises(ValueError, match="bucket/market has no files"):
        mirror.fetched(str(there))


def test_what_is_read_while_it_is_copied_again_stays_whole(tmp_path, monkeypatch):
    """A slower process opens its own copy after another has finished and begun to read."""
    there, copy = tmp_path / "bucket", shutil.copyfileobj
    there.mkdir()
    (there / "1.jpg").write_bytes(b"picture")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "remote", lambda path: True)
    here = mirror.fetched(str(there))
    (here / mirror.LIST).unlink()
    (there / "1.jpg").write_bytes(b"pictures")  # so that it is copied again
    read = []

    def watched(*given):
        read.append((here / "1.jpg").read_bytes())
        copy(*given)

    monkeypatch.setattr(shutil, "copyfileobj", watched)
    mirror.fetched(str(there))
    assert read == [b"picture"] and (here / "1.jpg").read_bytes() == b"pictures"


def test_storage_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def fails(file):
        raise ImportError("No module named 'gcsfs'")

    monkeypatch.setattr(mirror, "_read", fails)
    with pytest.raises(WorkdirError, match=r"gs://b/run cannot be read .*-e '\.\[gcs\]'"):
        with mirror.kept(tmp_path / "here", "gs://b/run"):
            shutil.rmtree(tmp_path)
