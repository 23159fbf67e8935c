"""Models beside one another: how many share a program, and that other devices go on with them."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid.training import Aux, Phase, alternate, create
from jaxreid.training.grouping import bytes_needed, grouped

SIZE = 64


def loss(nets, batch, memo, key):
    del memo
    noisy = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
    value = jnp.square(noisy @ nets["n"].params["w"] - batch["x"]).mean()
    return value, Aux({"error": value})


def task(models):
    """A matrix per model, learned from vectors of its own."""
    tx = {"n": optax.adam(0.1)}

    def init(key):
        return create(key, {"n": {"params": {"w": jnp.zeros((SIZE, SIZE))}}}, tx)

    keys = jnp.stack([jax.random.key(model) for model in models])
    rows = [np.random.default_rng(model).normal(size=(1, SIZE)) for model in models]
    step = alternate([Phase(("n",), loss)], tx).map(jax.vmap)
    return lambda: jax.vmap(init)(keys), step, {"x": np.stack(rows).astype(np.float32)}


def test_a_cpu_takes_one_model_at_a_time(tmp_path, capsys):
    found = grouped(tmp_path / "gan", [4, 5, 6], task)
    assert found == [[4], [5], [6]]
    assert "gan: 3 models, 1 at a time per device: the fastest on a CPU" in capsys.readouterr().out
    assert grouped(tmp_path / "gan", [4, 5, 6], task, room=1 << 40) == found
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("models", "of", "expected"),
    [(5, 5, [[0, 1, 2, 3, 4]]), (3, 5, [[0, 1, 2], [3, 4, 0]]), (0, 5, [[0], [1], [2], [3], [4]])],
)
def test_a_device_takes_as_many_as_it_has_room_for(tmp_path, models, of, expected, capsys):
    needed = bytes_needed(*task(range(max(models, 1))))
    room = int(needed / 0.9) + 1 if models else needed // 2
    assert grouped(tmp_path / "gan", range(of), task, room=room) == expected
    assert f"GiB of {room / 2**30:.2f}" in capsys.readouterr().out
    # Weights, two moments and their gradient.
    assert needed > max(models, 1) * 3 * SIZE * SIZE * 4


def test_what_the_compiler_refuses_for_its_size_does_not_fit(monkeypatch, tmp_path):
    """As XLA does for TPUs, where it does not say how much a program would need."""
    compiled = jax.stages.Lowered.compile

    def refuse(self):
        if f"4x{SIZE}x{SIZE}" in self.as_text():
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in hbm")
        return compiled(self)

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    assert bytes_needed(*task([0] * 4)) == np.inf and bytes_needed(*task([0] * 2)) < np.inf
    assert [len(g) for g in grouped(tmp_path / "gan", [1, 2, 3, 4], task, room=2**40)] == [2, 2]


def test_other_models_are_grouped_anew(tmp_path):
    grouped(tmp_path / "gan", [1, 2, 3], task)
    assert grouped(tmp_path / "gan", [1, 2], task) == [[1], [2]]
    assert json.loads((tmp_path / "gan/groups.json").read_text()) == [[0], [1]]


def test_a_damaged_list_of_groups_is_named(tmp_path):
    grouped(tmp_path / "gan", [1, 2], task)
    (tmp_path / "gan/groups.json").write_text("[[0")
    with pytest.raises(ValueError, match=r"gan/groups\.json is damaged .*delete the folder"):
        grouped(tmp_path / "gan", [1, 2], task)


CONTINUED = textwrap.dedent("""
    import pathlib, sys, jax, numpy as np
    sys.path.insert(0, "tests/training")
    devices, steps, this, address, directory = sys.argv[1:]
    if address:
        jax.distributed.initialize(address, 2, int(this))
    import test_training_grouping as t
    from jaxreid.training import Every, fit
    from jaxreid.training.grouping import grouped
    assert jax.device_count() == int(devices)
    directory, found = pathlib.Path(directory), {}
    for group in grouped(directory, [7, 8, 9], t.task):
        init, step, batch = t.task(group)
        state = fit(init, step, lambda a, b: ((s, batch) for s in range(a, b)), steps=int(steps),
                    directory=directory / str(group[0]), every=Every(1, 1, 9),
                    models=len(group))
        w = state.nets["n"].params["w"]
        assert len(w.sharding.device_set) == jax.local_device_count()
        found |= {str(m): np.asarray(w[i]) for i, m in enumerate(group)}
    np.savez(directory / f"after_{steps}_{this}.npz", **found)
""")


def train(devices, steps, directory, processes=1):
    """What ``devices`` of so many processes have after the steps, which all of them must agree on.

    The directory tells where they stopped.
    """
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices // processes)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}" if processes > 1 else ""
    given = [sys.executable, "-c", CONTINUED, str(devices), str(steps)]
    begun = [
        subprocess.Popen(
            [*given, str(k), address, str(directory)], env=env, stderr=subprocess.PIPE, text=True
        )
        for k in range(processes)
    ]
    for process in begun:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-2000:]
    found = []
    for k in range(processes):
        with np.load(directory / f"after_{steps}_{k}.npz") as file:
            found.append(dict(file))
        for model, weights in found[k].items():
            np.testing.assert_array_equal(weights, found[0][model])
    return found[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Weights of every model after six steps without a stop."""
    found = train(2, 6, tmp_path_factory.mktemp("whole"))
    assert sorted(found) == ["7", "8", "9"]
    return found


@pytest.mark.parametrize(
    ("first", "then", "processes"), [(2, 1, 1), (2, 3, 1), (1, 2, 2), (2, 4, 2)]
)
def test_groups_are_finished_by_other_devices_than_began_them(
    tmp_path, whole, first, then, processes
):
    train(first, 3, tmp_path)
    after = train(then, 6, tmp_path, processes)
    groups = {1: [[0], [1], [2]], 2: [[0, 1], [2, 0]]}[first]
    assert json.loads((tmp_path / "groups.json").read_text()) == groups
    lines = (tmp_path / "7/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for model, weights in whole.items():
        np.testing.assert_allclose(after[model], weights, atol=1e-6)
