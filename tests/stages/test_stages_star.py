"""StarGAN's stage: both losses by hand, who turns when, rates, devices, resume, refusals."""

import os
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.data import Split, augment
from jaxreid.data.pictures import Pictures, encode_png
from jaxreid.nets.stargan import Discriminator, Generator
from jaxreid.stages import star
from jaxreid.stages.sets import Sets
from jaxreid.training import Every, WorkdirError
from jaxreid.training.checkpoints import Checkpoints
from jaxreid.training.metrics import read_lines

SIZE, DOMAINS = (16, 8), 3
SETTINGS = star.Settings(
    width=2,
    blocks=1,
    halvings=1,
    judge_width=2,
    judge_layers=1,
    batch=6,
    margin=0.25,
    class_weight=0.7,
    cycle_weight=5.0,
    penalty_weight=3.0,
    turns=3,
    rate=1e-3,
    decay="linear",
    steps=7,
    decay_steps=3,
    candidates=1,
)
EVERY = Every(log=1, save=2, sample=100)


@pytest.fixture(scope="module", autouse=True)
def compile_quickly():
    """As `quick_compiler`, also for what several tests share."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def draw_batch(seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (6, 20, 10, 3)).astype(np.uint8)
    return {"image": images, "domain": np.array([0, 0, 0, 1, 1, 2], np.int32)}


@pytest.fixture(scope="module")
def state():
    return star.program(SETTINGS, SIZE, DOMAINS)[0](jax.random.key(0))


def nets_by_hand(state):
    """The networks as plain functions, labels as numbers."""
    generator, judge = Generator(2, 1, 1), Discriminator(DOMAINS, 2, 1)

    @jax.jit
    def translate(images, domain):
        return generator.apply({"params": state.nets["G"].params}, images, jnp.eye(3)[domain])

    def scores(images):
        return judge.apply({"params": state.nets["D"].params}, images)[0]

    def classes(images, domain):
        logits = np.asarray(judge.apply({"params": state.nets["D"].params}, images)[1], np.float64)
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return -np.mean([np.log(row[d]) for row, d in zip(chances, domain, strict=True)])

    return translate, scores, classes


def test_the_loss_of_the_discriminator(state):
    turn, key, batch = star.phases(SETTINGS, SIZE, DOMAINS)[0], jax.random.key(4), draw_batch()
    value, aux = jax.jit(turn.loss)(state.nets, batch, {}, key)
    translate, scores, classes = nets_by_hand(state)
    k_image, _, k_penalty = jax.random.split(key, 3)
    real, target = aux.memo["real"], aux.memo["target"]
    cropped = augment.crop_and_flip(k_image, batch["image"], SIZE)
    np.testing.assert_allclose(real, cropped, atol=1e-6)
    fake = translate(real, target)

    u = np.asarray(jax.random.uniform(k_penalty, (6,)))[:, None, None, None]
    mixed, patches = u * real + (1 - u) * fake, scores(real)[0].size
    slope = jax.jit(jax.grad(lambda x: scores(x[None]).sum()))
    slopes = [slope(x) for x in mixed]
    penalty = np.mean([(np.sqrt(np.sum(np.square(s))) - 1) ** 2 for s in slopes])
    assert patches == 32
    expected = {
        "d_critic": np.mean(scores(fake)) - np.mean(scores(real)),
        "d_class": 0.7 * classes(real, batch["domain"]),
        "d_penalty": 3.0 * penalty,
    }
    assert set(aux.metrics) == set(expected)
    for name, number in expected.items():
        np.testing.assert_allclose(aux.metrics[name], number, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(value, sum(expected.values()), rtol=1e-5)


def test_the_loss_of_the_generator(state):
    turn, batch = star.phases(SETTINGS, SIZE, DOMAINS)[1], draw_batch()
    real = np.random.default_rng(1).uniform(-1, 1, (6, *SIZE, 3)).astype(np.float32)
    target = np.array([2, 0, 1, 0, 1, 0])
    memo = {"real": jnp.asarray(real), "target": jnp.asarray(target)}
    value, aux = jax.jit(turn.loss)(state.nets, batch, memo, jax.random.key(5))
    translate, scores, classes = nets_by_hand(state)
    fake = translate(real, target)
    expected = {
        "g_critic": -np.mean(scores(fake)),
        "g_class": 0.7 * classes(fake, target),
        "g_cycle": 5.0 * np.mean(np.abs(real - translate(fake, batch["domain"]))),
    }
    assert set(aux.metrics) == set(expected)
    for name, number in expected.items():
        np.testing.assert_allclose(aux.metrics[name], number, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(value, sum(expected.values()), rtol=1e-5)


def test_targets_are_the_batch_s_own_cameras_in_random_order(state):
    turn, batch = star.phases(SETTINGS, SIZE, DOMAINS)[0], draw_batch()
    draw = jax.jit(lambda key: turn.loss(state.nets, batch, {}, key)[1].memo["target"])
    drawn = [tuple(np.asarray(draw(jax.random.key(seed))).tolist()) for seed in range(20)]
    assert all(Counter(row) == {0: 3, 1: 2, 2: 1} for row in drawn)
    assert len(set(drawn)) > 5
    assert {row[5] for row in drawn} == {0, 1, 2}


def test_the_generator_turns_in_every_third_step_and_each_turn_moves_one_network(state):
    step = star.program(SETTINGS, SIZE, DOMAINS)[1].map(jax.jit)
    moved, seen = [], []
    for number in range(7):
        after, metrics = step(state, draw_batch(number))
        moved.append("".join(n for n in "DG" if differ(state, after, n)))
        seen.append("".join(sorted({name[0].upper() for name in metrics})))
        if number == 3:
            without_g = step.programs[1](state, draw_batch(number))[0]
            for a, b in zip(*weights("D", after, without_g), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-6)  # a turn moves by up to 1e-3
        state = after
    assert moved == seen == ["DG", "D", "D", "DG", "D", "D", "DG"]
    assert int(state.nets["D"].opt[0].count) == 7 and int(state.nets["G"].opt[0].count) == 3


def weights(name, *states):
    return [jax.tree.leaves(state.nets[name].params) for state in states]


def differ(before, after, name):
    """Whether a single weight of the network does."""
    pairs = zip(*weights(name, before, after), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


def test_rates_by_hand():
    short = replace(SETTINGS, rate=1.0, steps=60, decay_steps=40)  # lowered in every 4th step
    linear, legacy = star.schedule(short), star.schedule(replace(short, decay="legacy"))
    steps = [0, 19, 20, 23, 24, 27, 28, 40, 59]
    np.testing.assert_allclose(
        [linear(s) for s in steps], [1, 1, 1, 1, 0.9, 0.9, 0.8, 0.5, 0.1], atol=1e-6
    )
    np.testing.assert_allclose(
        [legacy(s) for s in steps],
        [1, 1, 1, 1, 0.975, 0.975, 0.95, 0.875, 0.775],
        atol=1e-6,
    )


def test_rates_of_the_published_length():
    paper = replace(SETTINGS, rate=1e-4, steps=220_000, decay_steps=110_000)
    linear, legacy = star.schedule(paper), star.schedule(replace(paper, decay="legacy"))
    steps = [0, 110_999, 111_000, 111_999, 165_000, 219_000, 220_000]
    lowered = np.array([0, 0, 1, 1, 55, 109, 110])
    np.testing.assert_allclose(
        [linear(s) for s in steps], 1e-4 * (1 - lowered / 110), rtol=1e-5, atol=1e-10
    )
    np.testing.assert_allclose([legacy(s) for s in steps], 1e-4 - lowered * 1e-4 / 110_000)
    np.testing.assert_allclose(legacy(220_000), 9.99e-5, rtol=1e-6)


def test_without_decay_the_rate_stays():
    rate = star.schedule(replace(SETTINGS, rate=0.5, steps=9, decay_steps=0))
    assert [float(rate(step)) for step in range(9)] == [0.5] * 9


def test_both_optimisers_follow_the_steps():
    """Under a constant gradient Adam moves a weight by the rate itself."""
    given = replace(SETTINGS, rate=1.0, turns=3, steps=12, decay_steps=8)
    moves = {}
    for name, tx in star.optimisers(given).items():
        opt, moves[name] = tx.init(jnp.zeros(())), []
        for _ in range({"D": 12, "G": 4}[name]):
            update, opt = tx.update(jnp.ones(()), opt)
            moves[name].append(-float(update))
    by_step = [1, 1, 1, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    np.testing.assert_allclose(moves["D"], by_step, rtol=1e-5)
    np.testing.assert_allclose(moves["G"], by_step[::3], rtol=1e-5)


def make_sets(cameras=(0, 2, 5), images=4, size=SIZE):
    """A training split in memory, with gaps in its camera numbers."""
    numbers = np.repeat(cameras, images)
    drawn = np.random.default_rng(7).integers(0, 256, (len(numbers), *size, 3)).astype(np.uint8)
    files, blank = [encode_png(image) for image in drawn], np.zeros(len(numbers), np.int64)
    split = Split(
        pids=blank,
        cameras=numbers,
        names=tuple(f"{i}.png" for i in range(len(numbers))),
        styles=blank - 1,
        sources=("",) * len(numbers),
        size=size,
        numbers=np.arange(len(numbers)),
        pictures=Pictures(lambda rows: [files[row] for row in rows], len(files), size, 1 << 20),
    )
    return Sets(split, split, split, None, "drawn here")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("star")
    return directory, star.train(directory, make_sets(), SETTINGS, seed=3, every=EVERY)


def translations(translators, split):
    rows = np.array([1, 6, 11])
    return {pair: make(split, rows) for pair, make in translators.between.items()}


def test_translators_for_every_ordered_pair_of_the_cameras_that_are_there(trained):
    directory, translators = trained
    split = make_sets().train
    made = translations(translators, split)
    assert set(made) == {(0, 2), (0, 5), (2, 0), (2, 5), (5, 0), (5, 2)}
    floats = augment.to_float(split.images(np.array([1, 6, 11])))
    variables = {"params": fit_state(directory).nets["G"].params}
    for (_, target), images in made.items():
        labels = np.eye(3)[[[0, 2, 5].index(target)] * 3]
        expected = augment.to_uint8(Generator(2, 1, 1).apply(variables, floats, labels))
        assert images.shape == (3, *SIZE, 3) and images.dtype == np.uint8
        assert np.abs(images.astype(int) - np.asarray(expected, int)).max() <= 1
    assert not np.array_equal(made[0, 2], made[0, 5])
    assert np.array_equal(made[0, 2], made[5, 2])  # the source is not among the inputs
    assert [path.name for path in (directory / "samples").iterdir()] == ["step_000007.png"]
    steps = [read["step"] for read in read_lines(directory / "metrics.jsonl")]
    assert steps == list(range(1, 8))


def fit_state(directory):
    init, _ = star.program(SETTINGS, SIZE, DOMAINS)
    with closing(Checkpoints(directory / "checkpoints")) as checkpoints:
        return checkpoints.restore(init(jax.random.key(3)), until=7)


def test_a_finished_training_only_reads_its_last_checkpoint(trained, monkeypatch):
    directory, first = trained
    monkeypatch.setattr(star, "alternate", None)
    again = star.train(directory, make_sets(), SETTINGS, seed=3, every=EVERY)
    assert again.made_by == first.made_by
    split = make_sets().train
    for pair, images in translations(again, split).items():
        np.testing.assert_array_equal(images, translations(first, split)[pair])
    with pytest.raises(WorkdirError, match="stargan.rate"):
        star.train(directory, make_sets(), replace(SETTINGS, rate=0.5), seed=3, every=EVERY)


def test_resumed_equals_uninterrupted_bit_for_bit(trained, tmp_path, monkeypatch):
    def crash(batch, start, stop):
        for step in range(start, stop):
            if step == 5:
                raise RuntimeError("power cut")
            yield step, batch(step)

    with monkeypatch.context() as patch:
        patch.setattr(star, "prefetch", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            star.train(tmp_path, make_sets(), SETTINGS, seed=3, every=EVERY)
    star.train(tmp_path, make_sets(), SETTINGS, seed=3, every=EVERY)
    whole, resumed = fit_state(trained[0]), fit_state(tmp_path)
    assert int(resumed.step) == 7
    for a, b in zip(jax.tree.leaves(whole.nets), jax.tree.leaves(resumed.nets), strict=True):
        np.testing.assert_array_equal(a, b)


def test_eight_devices_equal_one(tmp_path):
    """Weights after SGD turns of both networks, in fresh processes."""
    code = """if True:
        import sys, jax, numpy as np, optax
        from dataclasses import replace
        from pathlib import Path
        from jaxreid.stages import star
        from jaxreid.training import Every, alternate, create, fit
        from test_stages_star import DOMAINS, SETTINGS, SIZE

        assert jax.device_count() == int(sys.argv[1])
        given = replace(SETTINGS, batch=8, turns=1)
        init, _ = star.program(given, SIZE, DOMAINS)
        tx = {name: optax.sgd(0.05) for name in "DG"}

        def start():
            made = init(jax.random.key(0))
            return create(made.key, {n: {"params": made.nets[n].params} for n in "DG"}, tx)

        def batches(begin, end):
            for step in range(begin, end):
                rng = np.random.default_rng(step)
                images = rng.integers(0, 256, (8, 20, 10, 3)).astype(np.uint8)
                yield step, {"image": images, "domain": rng.integers(0, 3, 8)}

        step = alternate(star.phases(given, SIZE, DOMAINS), tx)
        folder = Path(sys.argv[2])
        state = fit(start, step, batches, steps=2, directory=folder, every=Every(9, 9, 9))
        leaves = [np.asarray(x) for n in "DG" for x in jax.tree.leaves(state.nets[n].params)]
        np.savez(folder / "weights.npz", *leaves)
    """
    found = []
    for devices in (1, 8):
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": path}
        env |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        command = [sys.executable, "-c", code, str(devices), str(tmp_path / str(devices))]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(tmp_path / str(devices) / "weights.npz") as file:
            found.append([file[name] for name in file.files])
    for one, eight in zip(*found, strict=True):
        np.testing.assert_allclose(eight, one, atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "sets", "message"),
    [
        ({}, {"cameras": (1,)}, "carry one camera number"),
        ({"batch": 99}, {}, "stargan.batch is 99, but there are 12 training images"),
        ({"judge_layers": 5}, {}, "Images of 16x8 .* multiples of 32.*stargan.judge_layers"),
        ({}, {"size": (17, 8)}, "Images of 17x8 .* multiples of 2.*stargan.halvings"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(changes, sets, message):
    with pytest.raises(ValueError, match=message):
        star.require(replace(SETTINGS, **changes), make_sets(**sets))


def test_a_batch_that_the_devices_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(ValueError, match="stargan.batch is 6, which 4 devices"):
        star.require(SETTINGS, make_sets())


def test_data_that_can_be_trained_on_is_accepted():
    star.require(SETTINGS, make_sets())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": "cosine"}, "stargan.decay is 'cosine'; choose one of linear, legacy"),
        ({"turns": 0}, "stargan.turns is 0"),
        ({"decay_steps": 8}, "stargan.decay_steps is 8 and stargan.steps is 7"),
        ({"steps": 0, "decay_steps": 0}, "stargan.steps is 0"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)
