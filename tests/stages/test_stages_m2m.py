"""M2M-GAN, lite: labels, both losses by hand, who learns from what, where images go, refusals."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_stages_star import make_sets

from jaxreid.data import augment
from jaxreid.nets.stargan import Discriminator, Generator
from jaxreid.stages import m2m, m2m_turns
from jaxreid.stages.cycle_turns import Settings
from jaxreid.stages.domains import Domains
from jaxreid.stages.sets import SOURCE, TARGET
from jaxreid.training import Every
from jaxreid.training.pool import empty_pool

SIZE, CAMERAS, WEIGHT = (16, 8), (2, 3), 0.7
SETTINGS = Settings(
    width=2,
    blocks=1,
    halvings=1,
    patch_layers=1,
    dropout=0.0,
    batch=2,
    margin=0.25,
    cycle_weight=5.0,
    identity_weight=3.0,
    pool=4,
    rate=1e-3,
    epochs=1,
    decay_epochs=0,
    candidates=1,
)
RNG = np.random.default_rng(2)
BATCH = {
    "image_a": RNG.integers(0, 256, (2, 20, 10, 3)).astype(np.uint8),
    "camera_a": np.array([0, 1], np.int32),
    "image_b": RNG.integers(0, 256, (2, 20, 10, 3)).astype(np.uint8),
    "camera_b": np.array([2, 0], np.int32),
}


@pytest.fixture(scope="module", autouse=True)
def compile_quickly():
    """As `quick_compiler`, also for what several tests share."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def nets():
    return m2m.program(SETTINGS, SIZE, CAMERAS, 1, WEIGHT)[0](jax.random.key(0)).nets


def test_labels_name_the_source_s_camera_first_and_none_by_zeros():
    own, other = jnp.array([1, 0]), jnp.array([2, m2m_turns.NO_CAMERA])
    np.testing.assert_array_equal(
        m2m_turns.pair(SOURCE, own, other, CAMERAS), [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        m2m_turns.pair(TARGET, other, own, CAMERAS), [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]]
    )


def by_hand(nets):
    """The networks as plain functions of images and camera numbers; None is no camera."""
    generate = jax.jit(Generator(2, 1, 1).apply)
    judges = {
        "A": jax.jit(Discriminator(2, 2, 1).apply),
        "B": jax.jit(Discriminator(3, 2, 1).apply),
    }

    def translate(name, images, source, target):
        planes = [
            np.zeros((2, k)) if numbers is None else np.eye(k)[np.asarray(numbers)]
            for numbers, k in zip((source, target), CAMERAS, strict=True)
        ]
        label = jnp.asarray(np.concatenate(planes, 1), jnp.float32)
        return generate({"params": nets[name].params}, images, label)

    def judge(side, images, cameras):
        scores, logits = judges[side]({"params": nets[f"D{side}"].params}, images)
        logs = np.asarray(jax.nn.log_softmax(logits))
        return np.asarray(scores), -np.mean(logs[np.arange(2), np.asarray(cameras)])

    return translate, judge


def test_the_loss_of_the_generators(nets):
    turn, key = m2m_turns.phases(SETTINGS, SIZE, CAMERAS, WEIGHT)[0], jax.random.key(4)
    assert turn.trains == ("G", "F")
    value, aux = jax.jit(turn.loss)(nets, BATCH, {}, key)
    translate, judge = by_hand(nets)
    k_a, k_b = (jax.random.split(k) for k in jax.random.split(key))
    x = augment.crop_and_flip(k_a[0], jnp.asarray(BATCH["image_a"]), SIZE)
    y = augment.crop_and_flip(k_b[0], jnp.asarray(BATCH["image_b"]), SIZE)
    to, fro = jax.random.randint(k_a[1], (2,), 0, 3), jax.random.randint(k_b[1], (2,), 0, 2)
    c_x, c_y = BATCH["camera_a"], BATCH["camera_b"]
    fake_b, fake_a = translate("G", x, c_x, to), translate("F", y, fro, c_y)
    (score_b, named_b), (score_a, named_a) = judge("B", fake_b, to), judge("A", fake_a, fro)
    cycle = np.abs(x - translate("F", fake_b, c_x, to)).mean()
    cycle += np.abs(y - translate("G", fake_a, fro, c_y)).mean()
    same = np.abs(x - translate("F", x, c_x, None)).mean()
    same += np.abs(y - translate("G", y, None, c_y)).mean()
    expected = {
        "g_adversarial": np.mean((score_b - 1) ** 2) + np.mean((score_a - 1) ** 2),
        "g_camera": 0.7 * (named_a + named_b),
        "g_cycle": 5.0 * cycle,
        "g_identity": 3.0 * same,
    }
    assert set(aux.metrics) == set(expected)
    for name, number in expected.items():
        np.testing.assert_allclose(aux.metrics[name], number, rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(value, sum(expected.values()), rtol=1e-5)
    for name, images in {"a": x, "b": y, "fake_a": fake_a, "fake_b": fake_b}.items():
        np.testing.assert_allclose(aux.memo[name], images, atol=1e-5)


def test_the_loss_of_the_discriminators_and_what_their_camera_heads_learn_from(nets):
    _, between, turn = m2m_turns.phases(SETTINGS, SIZE, CAMERAS, WEIGHT)
    key = jax.random.key(5)
    assert turn.trains == ("DA", "DB")
    images = np.random.default_rng(6).uniform(-1, 1, (4, 2, *SIZE, 3)).astype(np.float32)
    memo = dict(zip(("a", "b", "fake_a", "fake_b"), images, strict=True))
    memo |= {f"pool_{side}": empty_pool(4, (*SIZE, 3)) for side in "ab"}  # pass what they get
    memo |= between.run(nets, BATCH, memo, key)

    @jax.jit
    def learned(memo):
        def scalar(params):
            view = nets | {name: nets[name].replace(params=params[name]) for name in params}
            return turn.loss(view, BATCH, memo, key)

        params = {name: nets[name].params for name in turn.trains}
        return jax.value_and_grad(scalar, has_aux=True)(params)

    (value, aux), slopes = learned(memo)
    _, judge = by_hand(nets)
    expected = {"d_camera": 0.0}
    for side in "ab":
        real, named = judge(side.upper(), memo[side], BATCH[f"camera_{side}"])
        fake, _ = judge(side.upper(), memo[f"fake_{side}"], [0, 0])
        expected[f"d_{side}"] = 0.5 * (np.mean((real - 1) ** 2) + np.mean(fake**2))
        expected["d_camera"] += 0.7 * named
    assert set(aux.metrics) == set(expected)
    for name, number in expected.items():
        np.testing.assert_allclose(aux.metrics[name], number, rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(value, sum(expected.values()), rtol=1e-5)

    others = learned(memo | {"pooled_a": -images[2], "pooled_b": -images[3]})[1]
    for name in ("DA", "DB"):
        one, two = slopes[name], others[name]
        equal = {layer: jax.tree.map(jnp.array_equal, one[layer], two[layer]) for layer in one}
        same = {layer: jax.tree.all(tree) for layer, tree in equal.items()}
        assert same == {"conv2": True, "conv1": False, "main_0": False}
        assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(slopes[name]["conv2"]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("m2m")
    source, target = make_sets((1, 4), 3, SIZE), make_sets((0, 2, 5), 2, SIZE)
    data = Domains(source, target, None, "drawn here")
    given = {"seed": 3, "every": Every(log=1, save=2, sample=100)}
    translators = m2m.train(directory, data, SETTINGS, WEIGHT, **given)
    again = m2m.train(directory, data, SETTINGS, WEIGHT, **given)
    assert again.made_by == translators.made_by
    return directory, data, again.between[SOURCE, TARGET]


def test_each_image_goes_to_a_camera_of_its_own_whatever_the_batch(trained):
    directory, data, translate = trained
    split, rows = data.source.train, np.arange(6)
    made = translate(split, rows)
    assert made.shape == (6, *SIZE, 3) and made.dtype == np.uint8
    picked = np.array([4, 1, 4])
    apart = translate(split, picked).astype(int) - made[picked]
    assert np.abs(apart).max() <= 1
    drawn = np.random.default_rng((3, 1)).choice(np.array([0, 2, 5]), 6)  # as the oracle does
    numbers = np.searchsorted([0, 2, 5], drawn)
    assert len(set(numbers)) > 1
    state = m2m._train(directory, data, SETTINGS, WEIGHT, 3, Every(1, 2, 100))  # only read
    for cameras in (numbers, (numbers + 1) % 3):
        label = np.concatenate([np.eye(2)[np.repeat([0, 1], 3)], np.eye(3)[cameras]], 1)
        images = augment.to_float(jnp.asarray(split.images(rows)))
        variables = {"params": state.nets["G"].params}
        expected = jax.jit(Generator(2, 1, 1).apply)(variables, images, jnp.asarray(label))
        near = np.abs(np.asarray(augment.to_uint8(expected), int) - made).max() <= 1
        assert near == (cameras is numbers)
    assert [path.name for path in (directory / "samples").iterdir()] == ["step_000003.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 0.5}, "gan.dropout is 0.5"),
        ({"candidates": 2}, "gan.candidates is 2, but .* takes the last checkpoint"),
        ({"batch": 7}, "gan.batch is 7, but there are 6 training images"),
        ({"patch_layers": 5}, "Images of 16x8 .* multiples of 32.*gan.patch_layers"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(trained, changes, message):
    with pytest.raises(ValueError, match=message):
        m2m.require(replace(SETTINGS, **changes), trained[1])
    m2m.require(SETTINGS, trained[1])


def test_paper_settings_are_those_of_the_specification():
    from configs import m2m as config

    given = config.get_config("paper")
    weights = given.m2m.class_weight, given.gan.cycle_weight, given.gan.identity_weight
    assert weights == (1.0, 10.0, 5.0)
    assert "lite" in config.__doc__ and "lite" in m2m.__doc__
    m2m.require(
        Settings(**given.gan.to_dict()),
        Domains(*[SimpleNamespace(train=Large())] * 2, None, ""),
    )


class Large:
    """A split of the paper's size, as far as `require` looks."""

    size = (256, 128)

    def __len__(self):
        return 12_936
