"""The loop through its public face: resume, preemption, NaN, damaged checkpoints, devices."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from jaxreid.training import Aux, Every, Phase, Preempted, alternate, create, fit, processes
from jaxreid.training.metrics import read_lines

TX = {"w": optax.adam(0.1)}


def init():
    return create(jax.random.key(3), {"w": {"params": {"w": jnp.ones((4, 2))}}}, TX)


def loss(nets, batch, memo, key):
    noise = jax.random.normal(key, batch["x"].shape)
    fit_term = jnp.mean((batch["x"] @ nets["w"].params["w"]) ** 2)
    noise_term = jnp.mean((batch["x"] + noise) @ nets["w"].params["w"])
    return fit_term + noise_term, Aux({"fit": fit_term, "noise": noise_term})


STEP = alternate([Phase(("w",), loss)], TX)


def batches(start, stop, poison=None):
    for step in range(start, stop):
        x = np.random.default_rng((5, step)).normal(size=(8, 4)).astype(np.float32)
        yield step, {"x": x * np.nan if step == poison else x}


def run(directory, steps=10, feed=batches, **options):
    every = Every(log=3, save=4, sample=4)
    return fit(init, STEP, feed, steps=steps, directory=directory, every=every, **options)


def weights(state):
    return np.asarray(state.nets["w"].params["w"]), jax.tree.map(np.asarray, state.nets["w"].opt)


def assert_equal(a, b):
    assert int(a.step) == int(b.step)
    for x, y in zip(jax.tree.leaves(weights(a)), jax.tree.leaves(weights(b)), strict=True):
        assert np.array_equal(x, y)


def test_progress_says_what_share_of_the_time_went_into_waiting_for_data(tmp_path, capsys):
    run(tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "steps/s" in line]
    assert lines and all(re.search(r"  data +\d+%  ", line) for line in lines), lines


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    whole = run(tmp_path / "whole")

    def crash(start, stop):
        for step, batch in batches(start, stop):
            if step == 7:
                raise RuntimeError("power cut")
            yield step, batch

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", feed=crash)
    assert_equal(run(tmp_path / "cut"), whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut/metrics.jsonl").open()]
    assert steps == sorted(set(steps)) and steps[-1] == 10


def test_a_finished_run_is_only_read(tmp_path):
    whole = run(tmp_path)

    def nothing(start, stop):
        if start:
            raise AssertionError("trained again")
        yield from batches(start, stop)

    assert_equal(run(tmp_path, feed=nothing), whole)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, capsys):
    whole = run(tmp_path)
    damaged = sorted((tmp_path / "checkpoints" / "10").rglob("*"), key=os.path.getsize)
    for path in damaged:
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_equal(run(tmp_path), whole)
    said = capsys.readouterr().out
    assert "checkpoint 10" in said and "cannot be read" in said and "from step 8" in said
    assert (tmp_path / "unreadable" / "10").is_dir()


def test_a_checkpoint_that_has_changed_is_noticed_even_where_orbax_reads_it(tmp_path, capsys):
    whole = run(tmp_path)
    with (tmp_path / "checkpoints/10/default/_METADATA").open("a") as file:
        file.write(" ")
    assert_equal(run(tmp_path), whole)
    assert "_METADATA is missing or has changed since it was written" in capsys.readouterr().out


def test_the_first_process_says_which_checkpoints_there_are(tmp_path, monkeypatch, capsys):
    whole = run(tmp_path)
    monkeypatch.setattr(processes, "tell", lambda find: [8] if find() == [10, 8] else find())
    assert_equal(run(tmp_path), whole)
    assert "continues from step 8" in capsys.readouterr().out


def test_lines_behind_a_damaged_one_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for damage in (b"\xff", b"{", b"[1]\n", b'{"step": "1"}\n', b"[" * 9999):
        path.write_bytes(b'{"step": 1}\n' + damage + b'\n{"step": 3}\n')
        assert read_lines(path) == [{"step": 1}]


def kept_and_read(directory):
    """The states at 3, 5 and 10 of a run that keeps the first two, read by asking for them."""
    run(directory, keep=(3, 5))
    return [run(directory, steps=steps, keep=(3, 5)) for steps in (3, 5, 10)]


def test_kept_checkpoints_stay_and_are_the_states_of_shorter_runs(tmp_path):
    states = kept_and_read(tmp_path / "kept")
    saved = {p.name for p in (tmp_path / "kept/checkpoints").iterdir() if p.name.isdigit()}
    assert saved == {"3", "5", "8", "10"}
    for steps, state in zip((3, 5, 10), states, strict=True):
        assert int(state.step) == steps
        assert_equal(state, run(tmp_path / str(steps), steps=steps))


def test_reading_a_kept_checkpoint_trains_nothing_and_leaves_the_run_alone(tmp_path):
    run(tmp_path, keep=(3, 5))
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def only_the_first(start, stop):
        assert start == 0 and stop == 1
        yield from batches(start, stop)

    assert int(run(tmp_path, steps=5, feed=only_the_first, keep=(3, 5)).step) == 5
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_kept_checkpoint_that_is_damaged_is_trained_again(tmp_path):
    _, whole, last = kept_and_read(tmp_path)
    for path in (tmp_path / "checkpoints" / "5").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for _ in range(2):
        assert_equal(run(tmp_path, steps=5, keep=(3, 5)), whole)
    assert_equal(run(tmp_path, keep=(3, 5)), last)


def test_interrupted_after_a_kept_checkpoint_it_ends_the_same(tmp_path):
    whole = kept_and_read(tmp_path / "whole")

    def crash(start, stop):
        for step, batch in batches(start, stop):
            if step == 6:
                raise RuntimeError("power cut")
            yield step, batch

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", feed=crash, keep=(3, 5))
    for one, other in zip(kept_and_read(tmp_path / "cut"), whole, strict=True):
        assert_equal(one, other)


def test_a_full_disk_is_said_plainly(tmp_path, monkeypatch):
    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: ... No space left on device [os_error_code='28']")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(OSError, match="no space left for checkpoints in .*checkpoints: free some"):
        run(tmp_path)


def test_a_value_that_is_not_finite_is_named_and_nothing_is_saved(tmp_path):
    with pytest.raises(FloatingPointError, match=r"step 6: fit, noise stopped being finite"):
        run(tmp_path, feed=lambda a, b: batches(a, b, poison=5))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()] == ["4"]


@pytest.mark.parametrize("last", [5, 9])
def test_sigterm_saves_and_the_next_run_continues(tmp_path, last):
    """In the last of ten steps, too."""
    whole = run(tmp_path / "whole")

    def terminated(start, stop):
        for step, batch in batches(start, stop):
            if step == last:
                signal.raise_signal(signal.SIGTERM)
            yield step, batch

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted) as stopped:
        run(tmp_path / "cut", feed=terminated)
    assert stopped.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / f"cut/checkpoints/{last + 1}").exists()
    assert_equal(run(tmp_path / "cut"), whole)


def test_sigterm_after_the_last_step_is_passed_on_when_all_is_saved(tmp_path):
    heard = []

    def last(state, step):
        if step == 10:
            signal.raise_signal(signal.SIGTERM)

    def hear(*_):
        heard.append((tmp_path / "checkpoints/10/default/seal.json").exists())

    before = signal.signal(signal.SIGTERM, hear)
    try:
        run(tmp_path, sample=last)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [True]


def test_a_checkpoint_is_sealed_as_soon_as_it_is_written(tmp_path):
    seal = tmp_path / "checkpoints/4/default/seal.json"

    def watched(start, stop):
        for step, batch in batches(start, stop):
            limit = time.monotonic() + 60
            while step == 6 and not (seal.parent / "manifest.ocdbt").exists():
                assert time.monotonic() < limit
                time.sleep(0.05)
            time.sleep(0.3)  # for what Orbax does after the last file
            if step == 7:
                assert seal.exists()
            yield step, batch

    run(tmp_path, feed=watched)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """The loss is finite, its gradient is not: the root of 0."""

    def loss(nets, batch, memo, key):
        return jnp.sqrt(jnp.sum((batch["x"] * 0 @ nets["w"].params["w"]) ** 2)), Aux({"fit": 0.0})

    step = alternate([Phase(("w",), loss)], TX)
    with pytest.raises(FloatingPointError, match="step 1: weights of w stopped being finite"):
        fit(init, step, batches, steps=1, directory=tmp_path, every=Every(1, 1, 1))
    assert not [p for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]


@pytest.mark.parametrize(
    "error", [MemoryError("no memory"), RuntimeError("RESOURCE_EXHAUSTED: out of memory")]
)
def test_a_checkpoint_is_not_blamed_for_what_the_machine_lacks(tmp_path, monkeypatch, error):
    run(tmp_path, steps=4)

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error), match="memory"):
        patch.setattr(ocp.CheckpointManager, "restore", fails)
        run(tmp_path)
    assert (tmp_path / "checkpoints/4").exists() and not (tmp_path / "unreadable").exists()


def test_samples_come_on_time_and_at_the_end(tmp_path):
    seen = []
    run(tmp_path, sample=lambda state, step: seen.append((int(state.step), step)))
    assert seen == [(4, 4), (8, 8), (10, 10)]


def test_eight_devices_equal_one(tmp_path):
    """Losses, gradients (as SGD updates) and batch norm statistics, in a fresh process."""
    code = textwrap.dedent("""
        import pathlib, sys, jax, jax.numpy as jnp, numpy as np, optax
        from flax import linen as nn
        from jaxreid.training import Aux, Every, Phase, alternate, create, fit
        from jaxreid import losses

        class Net(nn.Module):
            @nn.compact
            def __call__(self, x, train):
                x = nn.Conv(8, (3, 3), padding=1)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
                return nn.Dense(5)(x.mean((1, 2)))

        net, tx = Net(), {"n": optax.sgd(1.0)}
        def init():
            blank = jnp.zeros((1, 6, 4, 3))
            nets = {"n": net.init(jax.random.key(1), blank, True)}
            return create(jax.random.key(0), nets, tx)
        def loss(nets, batch, memo, key):
            variables = {"params": nets["n"].params, "batch_stats": nets["n"].stats}
            x = batch["x"] + jax.random.normal(key, batch["x"].shape)
            logits, new = net.apply(variables, x, True, mutable=["batch_stats"])
            value = losses.cross_entropy(logits, losses.smooth_labels(batch["y"], 5, 0.1)).mean()
            return value, Aux({"loss": value}, stats={"n": new["batch_stats"]})
        def batches(a, b):
            for s in range(a, b):
                rng = np.random.default_rng(s)
                x = rng.normal(size=(16, 6, 4, 3)).astype(np.float32)
                yield s, {"x": x, "y": rng.integers(0, 5, 16)}
        assert jax.device_count() == int(sys.argv[1])
        if jax.device_count() == 8:
            from jaxreid.training.mesh import make_mesh, placement, sharing
            for models, rows, able in ((8, 1, 8), (4, 1, 4), (3, 1, 3), (7, 2, 7), (1, 6, 6)):
                mesh = sharing({"x": np.zeros((models, rows, 4))}, models)
                assert mesh.shape == {"data": able}, (models, rows, mesh.shape)
            assert sharing({"x": np.zeros((3, 4))}, None).shape == {"data": 8}
            try:
                placement(make_mesh(), {"x": np.zeros((12, 4))}, None)
                raise AssertionError("an odd batch was accepted")
            except ValueError as error:
                assert "'x': 12" in str(error) and "8 devices" in str(error)
        step, directory = alternate([Phase(("n",), loss)], tx), pathlib.Path(sys.argv[2])
        state = fit(init, step, batches, steps=1, directory=directory, every=Every(1, 9, 9))
        leaves = jax.tree.leaves((state.nets["n"].params, state.nets["n"].stats))
        np.savez(sys.argv[3], *[np.asarray(x) for x in leaves])
    """)
    found = []
    for devices in (1, 8):
        out = tmp_path / f"{devices}.npz"
        env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
        env.pop("JAX_DISABLE_MOST_OPTIMIZATIONS")  # the promise holds as users compile
        command = [sys.executable, "-c", code, str(devices), str(tmp_path / str(devices)), str(out)]
        subprocess.run(command, check=True, env=env, capture_output=True)
        with np.load(out) as file:
            found.append([file[name] for name in file.files])
    for one, eight in zip(*found, strict=True):
        np.testing.assert_allclose(eight, one, atol=2e-6)
    losses = [json.loads((tmp_path / str(n) / "metrics.jsonl").read_text())["loss"] for n in (1, 8)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
