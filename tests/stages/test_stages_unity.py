"""UnityGAN: the generators' loss, who is trained by what, its scales, and restyled splits."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import data, losses
from jaxreid.stages import generate, unity, unity_turns
from jaxreid.stages.sets import Restylers, Sets
from jaxreid.training import Every, alternate

SIZE = (32, 16)
CAMERAS = 3
SHARES = (0.4, 0.2, 0.1, 0.3)
SETTINGS = unity.Settings(
    width=2,
    blocks=1,
    merge="add",
    norm="ibn",
    batch=2,
    margin=0.0,
    gan_weight=SHARES[0],
    matching_weight=SHARES[1],
    identity_weight=SHARES[2],
    cycle_weight=SHARES[3],
    ssim_share=0.7,
    beta=0.5,
    update_every=2,
    draw="all",
    weight_grad="stop",
    weight_norm="sum1",
    rate=1e-2,
    epochs=1,
    decay_epochs=1,
)
METRICS = ("attention", "d_x", "d_y", "g_cycle", "g_gan", "g_identity", "g_matching")
KEY = jax.random.key(3)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """As `quick_compiler`, but for the fixtures of this module, too."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def nets():
    """The state of one model before its first step."""
    init, _ = unity.program(SETTINGS, SIZE, CAMERAS, 4)
    keys = jax.random.key(0, impl="unsafe_rbg")[None]  # compiles ten times faster
    return jax.tree.map(lambda x: x[0], init(keys))


@pytest.fixture(scope="module")
def batch():
    """Symmetric images without margin: cropping and flipping leave them alone."""
    rng = np.random.default_rng(0)
    left = rng.integers(0, 256, (2, 1 + CAMERAS, SETTINGS.batch, SIZE[0], SIZE[1] // 2, 3))
    both = np.concatenate([left, left[..., ::-1, :]], axis=-2).astype(np.uint8)
    y = both[:, 1:].swapaxes(1, 2)
    return {"d_x": both[0, 0], "d_y": y[0], "g_x": both[1, 0], "g_y": y[1]}


def loss_of(settings, turn=1):
    phase = unity.phases(settings, SIZE, CAMERAS)[turn]
    return lambda state, batch, step, key=KEY: phase.loss(
        state.nets, batch, {**state.extra, "step": step}, key
    )


@pytest.fixture(scope="module")
def turned(nets, batch):
    """Loss and by-products of the generators' turn in a step, from scales that are not 1."""
    scales = losses.LossScale(jnp.arange(1.0, 5.0), jnp.arange(2.0, 6.0))
    given = nets.replace(extra={"scales": scales})
    run = jax.jit(loss_of(SETTINGS))
    return scales, [jax.device_get(run(given, batch, jnp.int32(step))) for step in (0, 1)]


@pytest.fixture(scope="module")
def looked_at(nets, batch):
    """The four terms towards every camera, one pass at a time; attention; running statistics."""
    generator, judge = unity_turns.networks(SETTINGS)

    @partial(jax.jit, static_argnums=0)
    def run(name, images):
        net = nets.nets[name]
        variables = {"params": net.params, "batch_stats": net.stats}
        (images, attention), updated = generator.apply(
            variables, images, True, mutable=["batch_stats"], method="with_attention"
        )
        return images, attention, updated["batch_stats"]

    @partial(jax.jit, static_argnums=0)
    def judged(name, images):
        return judge.apply({"params": nets.nets[name].params}, images)

    def matching(real, fake):
        means = [(np.mean(a, 0), np.mean(b, 0)) for a, b in zip(real, fake, strict=True)]
        return np.mean([np.mean((a - b) ** 2) for a, b in means])

    def one_way(there, back, home, away, images):
        fake, attention, stats = run(there, images)
        returned, same = run(back, fake)[0], run(back, images)[0]
        distance = np.abs(np.subtract(images, returned)).mean() / 2  # on [0, 1]
        similarity = losses.ms_ssim((images + 1) / 2, (returned + 1) / 2)
        return {
            "cycle": 0.7 * (1 - similarity) + 0.3 * distance,
            "identity": np.abs(np.subtract(images, same)).mean() / 2,
            "gan": np.log1p(np.exp(-np.float64(judged(away, fake).scores))).mean(),
            home: judged(home, images).features,
            away: judged(away, fake).features,
            "attention": attention,
            "stats": stats,
        }

    x, *y = (
        images / np.float32(127.5) - 1 for images in (batch["g_x"], *batch["g_y"].swapaxes(0, 1))
    )
    x = one_way("G", "F", "DX", "DY", x)
    y = [one_way("F", "G", "DY", "DX", images) | {"own": run("G", images)[1]} for images in y]
    terms = [
        [
            x["gan"] + k["gan"],
            matching(x["DX"], k["DX"]) + matching(k["DY"], x["DY"]),
            x["identity"] + k["identity"],
            x["cycle"] + k["cycle"],
        ]
        for k in y
    ]
    attention = np.array([k["own"].mean() for k in y], np.float64)
    stats = {"G": x["stats"], "F": jax.tree.map(lambda *s: sum(s) / 3, *(k["stats"] for k in y))}
    return np.array(terms, np.float64), attention, stats


def test_the_generators_lower_normalised_terms_weighted_by_attention(turned, looked_at):
    scales, turns = turned
    towards, attention, _ = looked_at
    terms = attention / attention.sum() @ towards
    average = 0.5 * scales.average + 0.5 * terms
    for (loss, aux), moves in zip(turns, (True, False), strict=True):
        found = [aux.metrics[f"g_{name}"] for name in ("gan", "matching", "identity", "cycle")]
        np.testing.assert_allclose(found, terms, rtol=1e-4)
        assert aux.metrics["attention"] == pytest.approx(attention.mean(), rel=1e-5)
        denominator = average if moves else scales.denominator
        np.testing.assert_allclose(loss, np.sum(SHARES * terms / denominator), rtol=1e-4)
        np.testing.assert_allclose(aux.memo["scales"].average, average, rtol=1e-4)
        np.testing.assert_allclose(aux.memo["scales"].denominator, denominator, rtol=1e-4)


def test_running_statistics_come_from_real_images_on_their_way_out(turned, looked_at):
    (_, aux), expected = turned[1][0], looked_at[2]
    assert set(aux.stats) == {"G", "F"}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), aux.stats, expected)


def test_scales_advance_as_in_the_golden_run(nets, batch, monkeypatch):
    values = [2.0, 2.0, 2.0, 4.0, 4.0]
    expected = [1.333333, 1.333333, 1.066667, 2.133333, 1.153153]

    def shown_value(settings, seen):
        return jnp.full((4, CAMERAS), (seen.images[0].max() + 1) * 12.75)

    monkeypatch.setattr(unity_turns, "generator_terms", shown_value)
    run = jax.jit(loss_of(SETTINGS))
    state, found = nets, []
    for step, value in enumerate(values):
        shown = batch | {"g_x": np.full_like(batch["g_x"], value * 10)}
        loss, aux = run(state, shown, jnp.int32(step))
        state = state.replace(extra={"scales": aux.memo["scales"]})
        found.append(loss)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_one_drawn_camera_stands_for_all(nets, batch, looked_at):
    towards, attention, _ = looked_at
    run = jax.jit(loss_of(replace(SETTINGS, draw="one")))
    names = ("gan", "matching", "identity", "cycle")
    drawn = {}
    for number in range(20):
        metrics = run(nets, batch, jnp.int32(0), jax.random.key(number))[1].metrics
        terms = np.array([metrics[f"g_{name}"] for name in names])
        drawn[tuple(np.round(terms, 4))] = terms
    expected = CAMERAS * (attention / attention.sum())[:, None] * towards
    assert len(drawn) == CAMERAS
    found = sorted(map(tuple, drawn.values()))
    np.testing.assert_allclose(found, sorted(map(tuple, expected)), rtol=1e-4)


def test_cameras_are_drawn_evenly():
    settings = replace(SETTINGS, draw="one")
    attention = jnp.array([[0.2], [0.3], [0.5]])
    draw = jax.vmap(lambda key: unity_turns.drawn_cameras(settings, key, attention))
    cameras, weights = draw(jax.random.split(KEY, 3000))
    np.testing.assert_allclose(weights, 3 * attention[cameras][..., 0], rtol=1e-6)
    assert np.abs(np.bincount(cameras[:, 0]) - 1000).max() < 5 * math.sqrt(3000 * 2 / 9)


def leaves(*nets):
    return [np.asarray(x) for net in nets for x in jax.tree.leaves(net)]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("turn", "trained"), [(0, ("DX", "DY")), (1, ("G", "F"))])
def test_a_turn_leaves_the_other_networks_alone(nets, batch, turn, trained):
    tx = unity.optimisers(SETTINGS, 4)
    phase = replace(unity.phases(SETTINGS, SIZE, CAMERAS)[turn], every=1)
    assert phase.trains == trained
    after, metrics = alternate([phase], tx).map(jax.jit)(nets, batch)
    for name, net in nets.nets.items():
        assert equal(leaves(net), leaves(after.nets[name])) == (name not in trained)
    if turn == 1:
        # Attention learns from the pass through the skips, although its weights are cut off.
        style = after.nets["G"].opt[0].mu["style"]
        assert all(np.abs(gradient).max() > 0 for gradient in leaves(style))
    else:
        assert set(metrics) == {"d_x", "d_y"} and set(after.extra) == {"scales"}


def test_discriminators_rest_in_odd_steps():
    judges, generators = unity.phases(SETTINGS, SIZE, CAMERAS)
    assert (judges.every, generators.every) == (2, 1)
    programs = alternate([judges, generators], unity.optimisers(SETTINGS, 4)).programs
    assert len(programs) == 2 and programs[0] is not programs[1]


def test_discriminators_lower_the_halved_cross_entropy(nets, batch):
    generator, judge = unity_turns.networks(SETTINGS)
    x, *y = (
        images / np.float32(127.5) - 1 for images in (batch["d_x"], *batch["d_y"].swapaxes(0, 1))
    )

    @partial(jax.jit, static_argnums=0)
    def fake(name, images):
        variables = {"params": nets.nets[name].params, "batch_stats": nets.nets[name].stats}
        return generator.apply(variables, images, True, mutable=["batch_stats"])[0]

    @partial(jax.jit, static_argnums=0)
    def score(name, images):
        return np.float64(1) * judge.apply({"params": nets.nets[name].params}, images).scores

    fakes = [fake("F", images) for images in y]
    real = {"d_x": [score("DX", x)], "d_y": [score("DY", images) for images in y]}
    made = {"d_x": [score("DX", images) for images in fakes], "d_y": [score("DY", fake("G", x))]}
    total, aux = jax.jit(loss_of(SETTINGS, turn=0))(nets, batch, jnp.int32(0))
    for name in ("d_x", "d_y"):
        halves = np.logaddexp(0, -np.array(real[name])).mean(), np.logaddexp(0, made[name]).mean()
        assert float(aux.metrics[name]) == pytest.approx(sum(halves) / 2, rel=1e-5)
    assert float(total) == pytest.approx(sum(map(float, aux.metrics.values())), rel=1e-6)
    assert not aux.stats and not aux.memo


@pytest.mark.parametrize("draw", ["all", "one"])
@pytest.mark.parametrize("weight_norm", ["sum1", "none"])
def test_weights_of_attention_have_the_gradient_asked_for(weight_norm, draw):
    attention = jnp.array([[0.2], [0.3], [0.5]])

    def weighed(attention, weight_grad):
        options = {"weight_grad": weight_grad, "weight_norm": weight_norm, "draw": draw}
        cameras, weights = unity_turns.drawn_cameras(replace(SETTINGS, **options), KEY, attention)
        return (weights * (1 + cameras)).sum(), cameras

    (_, cameras), flow = jax.value_and_grad(weighed, has_aux=True)(attention, "flow")
    stop, _ = jax.grad(weighed, has_aux=True)(attention, "stop")
    costs = np.zeros(3)
    costs[cameras] = (1 + cameras) * (3 if draw == "one" else 1)
    expected = costs - (costs @ attention if weight_norm == "sum1" else 0)  # they add up to 1
    np.testing.assert_allclose(flow[:, 0], expected, rtol=1e-5)
    assert np.all(stop == 0)


def test_a_turn_learns_through_its_weights_only_if_asked(nets, batch, monkeypatch):
    towards = np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 5.0])  # terms that no network can change
    monkeypatch.setattr(unity_turns, "generator_terms", lambda settings, seen: jnp.array(towards))
    style = nets.nets["G"].params["style"]

    def with_style(style):
        net = nets.nets["G"]
        return nets.replace(nets=nets.nets | {"G": net.replace(params=net.params | style)})

    def gradient(weight_grad):
        settings = replace(SETTINGS, weight_grad=weight_grad, weight_norm="none")
        loss = loss_of(settings)

        def of_style(style):
            # An odd step, so that the normalisers are still 1.
            return loss(with_style({"style": style}), batch, jnp.int32(1))[0]

        return jax.jit(jax.grad(of_style))(style)

    def weighed(style):
        net = with_style({"style": style}).nets["G"]
        variables = {"params": net.params, "batch_stats": net.stats}
        attend = partial(generator.apply, train=True, mutable=["batch_stats"], method="attention")
        y = batch["g_y"].swapaxes(0, 1) / np.float32(127.5) - 1
        means = jnp.stack([attend(variables, images)[0].mean() for images in y])
        return (np.array(SHARES) @ towards * means).sum()

    generator, _ = unity_turns.networks(SETTINGS)
    flow, expected = gradient("flow"), jax.jit(jax.grad(weighed))(style)
    for found, wanted in zip(leaves(flow), leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-7)
    assert all(np.abs(x).max() > 1e-5 for x in leaves(expected))
    assert all(np.all(x == 0) for x in leaves(gradient("stop")))


@pytest.mark.parametrize(
    "options", [{"merge": "concat", "draw": "one"}, {"norm": "in", "batch": 1}]
)
def test_every_form_of_the_networks_takes_a_step(options):
    settings = replace(SETTINGS, **options)
    init, step = unity.program(settings, SIZE, CAMERAS, 4)
    state = jax.eval_shape(init, jax.random.key(0)[None])
    image = jax.ShapeDtypeStruct((1, settings.batch, *SIZE, 3), jnp.uint8)
    images = jax.ShapeDtypeStruct((1, settings.batch, CAMERAS, *SIZE, 3), jnp.uint8)
    batch = {"d_x": image, "d_y": images, "g_x": image, "g_y": images}
    after, metrics = jax.eval_shape(step.programs[0], state, batch)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), s) for s in (after, state)]
    assert shapes[0] == shapes[1]
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(METRICS, (1,))


def test_the_rate_falls_by_steps_for_those_who_turn_every_other_one():
    settings = replace(SETTINGS, epochs=2, decay_epochs=3)  # of 4 steps each
    expected = [*[1.0] * 8, *(np.arange(12, 0, -1) / 12)]
    rates = [float(unity.schedule(settings, 4)(step)) for step in range(20)]
    np.testing.assert_allclose(rates, 1e-2 * np.array(expected), rtol=1e-6)
    tx = unity.optimisers(settings, 4)
    for name, steps in {"G": range(20), "F": range(20), "DX": range(0, 20, 2)}.items():
        state, slope = tx[name].init(jnp.zeros(())), jnp.ones(())
        for step in steps:  # under a constant slope Adam moves by the rate
            update, state = tx[name].update(slope, state)
            assert float(update) == pytest.approx(-rates[step], rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"merge": "sum"}, "unitygan.merge is 'sum'; it must be one of add, concat"),
        ({"norm": "bn"}, "unitygan.norm is 'bn'; it must be one of ibn, in"),
        ({"draw": "two"}, "unitygan.draw is 'two'; it must be one of all, one"),
        ({"weight_grad": "none"}, "one of stop, flow"),
        ({"weight_norm": "flow"}, "one of sum1, none"),
        ({"width": 0}, "unitygan.width is 0; it must be at least 1"),
        ({"blocks": 0}, "unitygan.blocks"),
        ({"batch": 1}, "unitygan.batch is 1; it must be above 1, or norm 'in'"),
        ({"update_every": 0}, "unitygan.update_every"),
        ({"margin": -0.1}, "unitygan.margin"),
        ({"beta": 1.0}, "unitygan.beta is 1.0; it must be at least 0 and below 1"),
        ({"rate": 0.0}, "unitygan.rate"),
        ({"epochs": 0, "decay_epochs": 0}, "unitygan.epochs is 0; it must be above 0 without"),
        ({"decay_epochs": -1}, "unitygan.decay_epochs"),
        ({"gan_weight": -0.4}, "unitygan.gan_weight is -0.4; it must be a share, from 0 to 1"),
        ({"ssim_share": 1.1}, "unitygan.ssim_share"),
        ({"gan_weight": 0.5}, "gan_weight, matching_weight, .* add up to 1.1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **wrong)


def split_of(directory, cameras, name="train"):
    """Random images of these cameras, through records."""
    rng = np.random.default_rng(len(cameras))

    def record(i, camera):
        image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        where = {"camera": camera, "domain": "test", "source": "", "style": -1}
        return data.generated(image, pid=i // 2, name=f"{name}_{i}.png", **where)

    made = [record(i, camera) for i, camera in enumerate(cameras)]
    data.write_generated(directory / name, {name: made})
    return data.load(directory / name, SIZE)[name]


def sets_of(split):
    return Sets(split, split, split, None, "drawn")


@pytest.mark.parametrize(
    ("cameras", "size", "message"),
    [
        ([0, 0, 0], SIZE, "one camera number"),
        ([0, 0, 1], SIZE, r"unitygan.batch is 2, but there are images: {'camera 2': 1}"),
        ([0, 0, -1, 1], SIZE, "1 of 4 train images have no camera .*'train_2.png'"),
        ([0, 0, 1, 1], (24, 16), "data.height and data.width .* multiples of 16"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(tmp_path, cameras, size, message):
    split = split_of(tmp_path, cameras).resized(size)
    with pytest.raises(ValueError, match=message):
        unity.require(SETTINGS, sets_of(split))


def test_the_smallest_images_that_the_networks_take_have_room_for_similarity():
    assert losses.ms_ssim(jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 16, 16, 3))) == 1


def test_batches_are_fresh_for_each_turn_and_of_the_cameras_they_name(tmp_path):
    split = split_of(tmp_path, [2, 0, 1, 0, 1, 2, 2, 1, 0] * 2)
    images = [image.tobytes() for image in split.images(np.arange(18))]
    cameras = dict(zip(images, split.cameras.tolist(), strict=True))
    draw = unity._batches(split, [1, 2], SETTINGS, 0)
    for step in range(4):
        batch = draw(step)
        for turn in "dg":
            seen = [[cameras[i.tobytes()] for i in images] for images in batch[f"{turn}_x"]]
            assert seen == [[1, 1], [2, 2]]
            assert batch[f"{turn}_y"].shape == (2, 2, 3, *SIZE, 3)
            for model in batch[f"{turn}_y"]:
                assert [[cameras[i.tobytes()] for i in y] for y in model] == [[0, 1, 2]] * 2
        again = draw(step)
        assert all(np.array_equal(batch[name], again[name]) for name in batch)
        # Of six images of a camera, a step draws two and two others.
        draws = {"x": [batch[f"{turn}_x"][0] for turn in "dg"]}
        draws |= {f"y{k}": [batch[f"{turn}_y"][0, :, k] for turn in "dg"] for k in range(3)}
        for two in draws.values():
            assert step % 3 == 1 or len({image.tobytes() for image in np.concatenate(two)}) == 4


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch, capsys):
    real = split_of(tmp_path, [0, 1] * 6)
    settings = replace(SETTINGS, margin=0.1, draw="one", epochs=1, decay_epochs=0)
    train = partial(unity.train, data=sets_of(real), settings=settings, seed=5)
    monkeypatch.setattr(unity, "grouped", lambda *given: [[given[1][1]]])  # one model is enough
    whole = train(tmp_path / "whole", every=Every(2, 100, 100))
    with monkeypatch.context() as patch:
        patch.setattr(unity, "_sample", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path / "cut", every=Every(2, 2, 3))
    cut = train(tmp_path / "cut", every=Every(2, 2, 100))
    assert "camera_2: continues from step 2" in capsys.readouterr().out
    states = [run.to_unity[1].args[0]() for run in (whole, cut)]
    assert int(states[0].step[0]) == 6
    scales = states[0].extra["scales"]
    assert isinstance(scales, losses.LossScale) and scales.average.shape == (1, 4)
    assert np.all(scales.denominator != 1) and np.all(scales.denominator != scales.average)
    plain = [jax.tree.map(np.asarray, (state.nets, state.extra)) for state in states]
    assert equal(leaves(plain[0]), leaves(plain[1]))
    assert whole.made_by == cut.made_by
    assert len(list((tmp_path / "whole" / "camera_2" / "samples").glob("*.png"))) == 1

    rows = np.array([3, 1])
    shown = whole.to_unity[1](real, rows)
    net = jax.tree.map(lambda x: x[0], states[0].nets["G"])
    generator, _ = unity_turns.networks(settings)
    inputs = real.images(rows) / np.float32(127.5) - 1
    variables = {"params": net.params, "batch_stats": net.stats}
    expected = (jax.jit(generator.apply)(variables, inputs) + 1) * 127.5
    assert shown.dtype == np.uint8 and np.abs(shown - np.asarray(expected)).max() < 0.51


def test_a_split_is_restyled_in_its_order_and_strangers_stay_real(tmp_path, capsys):
    split = split_of(tmp_path, [2, 0, 1, 0, 2, 1, 0, 0], "query")
    calls = []

    def restyler(camera):
        def translate(split, rows):
            calls.append(camera)
            return 255 - split.images(rows) // (camera + 1)

        return translate

    restylers = Restylers({camera: restyler(camera) for camera in (0, 1)}, "trained")
    make = partial(generate.to_unity, tmp_path / "unity", "query", split, batch=3)
    found = make(restylers).split
    assert (
        "warning: camera 3 has no UnityGAN: its 2 query images stay real" in capsys.readouterr().out
    )
    assert calls == [0, 0, 1]
    images, restyled = split.images(np.arange(8)), found.images(np.arange(8))
    for image, new, camera in zip(images, restyled, split.cameras, strict=True):
        np.testing.assert_array_equal(new, image if camera == 2 else 255 - image // (camera + 1))
    assert found.sources == split.names and found.names[0] == "query_0_unity.png"
    np.testing.assert_array_equal(found.pids, split.pids)
    np.testing.assert_array_equal(found.cameras, split.cameras)
    assert found.styles.tolist() == [-1, 0, 0, 0, -1, 0, 0, 0]

    again = make(restylers)
    assert calls == [0, 0, 1] and np.array_equal(again.split.images(np.arange(8)), restyled)
    other = partial(generate.to_unity, tmp_path / "other", "query", batch=3)
    assert again.made_by != other(split, restylers._replace(made_by="other")).made_by


def test_images_without_camera_cannot_be_restyled(tmp_path):
    split = split_of(tmp_path, [-1, -1], "gallery")
    with pytest.raises(ValueError, match="needs the camera of every image: records carry it"):
        generate.to_unity(tmp_path / "unity", "gallery", split, Restylers({}, "trained"))
