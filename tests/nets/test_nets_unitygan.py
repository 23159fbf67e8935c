"""UnityGAN: counts, sizes, initialisation, statistics, attention, and PyTorch's numbers.

GANimorph's numbers come from its own `model.py` (TensorFlow), whose layers PyTorch ran with
TensorFlow's paddings. UnityGAN has no code: its numbers come from a PyTorch module that was
written apart from ours, from the same layer table. The two deepest were recorded in float64.
"""

from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, load

from jaxreid.nets.convert import from_torch
from jaxreid.nets.layers import IBN
from jaxreid.nets.unitygan import DilatedDiscriminator, StyleAttention, UnityGenerator

pytestmark = pytest.mark.usefixtures("quick_compiler")

GANIMORPH = partial(UnityGenerator, merge="concat", norm="in", style_attention=False)
SIZES = [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)]
KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles ten times faster than the default
TRANSPOSED = [f"deconv{i}.conv" for i in range(4)]


@pytest.fixture(scope="module")
def small():
    """A small generator and its first parameters."""
    net = UnityGenerator(4, 1)
    return net, init(net)


def shapes_of(net, size, **kwargs):
    """Shapes of the net's output and variables, without computing anything."""
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return jax.eval_shape(partial(net.init_with_output, **kwargs), jax.random.key(0), images)


def count(net):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(net, (32, 16))[1]["params"]))


def init(net, shape=(2, 32, 16, 3)):
    return jax.jit(net.init)(KEY, draw_images(shape))


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (GANIMORPH(), 53_017_728),
        (UnityGenerator(merge="concat"), 53_017_728 + 4_240),
        (UnityGenerator(style_attention=False), 29_433_472),
        (UnityGenerator(norm="in"), 29_433_472 + 4_240),
        (DilatedDiscriminator(), 16_798_208),
        (GANIMORPH(8, 1), 350_736),
        (UnityGenerator(8, 1, style_attention=False), 221_648),
        (UnityGenerator(8, 1), 221_648 + 82),
        (DilatedDiscriminator(8), 264_768),
        (GANIMORPH(16, 1), 1_398_816),
        (UnityGenerator(16, 1, style_attention=False), 883_104),
        (UnityGenerator(16, 1), 883_104 + 292),
        (DilatedDiscriminator(16), 1_053_824),
    ],
)
def test_parameter_count(net, expected):
    assert count(net) == expected


def test_parameter_count_of_the_model_of_one_camera():
    assert 2 * count(UnityGenerator()) + 2 * count(DilatedDiscriminator()) == 92_471_840


@pytest.mark.parametrize("size", SIZES)
def test_output_shapes(size):
    generator, judge = UnityGenerator(), DilatedDiscriminator()
    (images, attention), _ = shapes_of(generator, size, method="with_attention")
    assert images.shape == (2, *size, 3)
    assert attention.shape == (2, size[0] // 4, size[1] // 4, 128)
    logits, features = shapes_of(judge, size)[0]
    eighth = (2, size[0] // 8, size[1] // 8)
    assert logits.shape == (*eighth, 1)
    assert features[0].shape == (2, size[0] // 4, size[1] // 4, 256)
    assert [f.shape for f in features[1:]] == [(*eighth, 512)] * 6


def test_skips_have_a_quarter_and_an_eighth_of_the_size():
    capture = {"capture_intermediates": True, "mutable": True}
    _, variables = shapes_of(UnityGenerator(), (256, 128), **capture)
    skips = [variables["intermediates"][f"layer{i}_2"]["__call__"][0].shape for i in (1, 2)]
    assert skips == [(2, 64, 32, 128), (2, 32, 16, 256)]


def test_sizes_and_readings_that_do_not_exist_say_what_would():
    for net in (UnityGenerator(4, 1), DilatedDiscriminator(4)):
        with pytest.raises(ValueError, match=r"72x32 .* multiples of 16.*resize"):
            shapes_of(net, (72, 32))
    with pytest.raises(ValueError, match="merge 'add' or 'concat'.*'sum'"):
        shapes_of(UnityGenerator(4, 1, merge="sum"), (32, 16))


def test_receptive_field_of_the_discriminator():
    net = DilatedDiscriminator(1)
    images = jnp.ones((1, 352, 32, 3))
    params = jax.tree.map(jnp.ones_like, init(net, (1, 32, 16, 3))["params"])

    # Instance norm sees the whole image; scaling instead leaves the field of the convolutions.
    def scale(next_call, args, kwargs, context):
        norm = type(context.module).__name__ == "InstanceNorm"
        return args[0] / 100 if norm else next_call(*args, **kwargs)

    def centre(images):
        with nn.intercept_methods(scale):
            return net.apply({"params": params}, images).scores[0, 22, 2, 0]

    touched = jnp.flatnonzero(jnp.abs(jax.jit(jax.grad(centre))(images)).sum((0, 2, 3)))
    assert int(touched[-1] - touched[0]) + 1 == 302


def test_initial_distributions():
    params = init(UnityGenerator(16, 1))["params"]
    fan_in = {
        ("conv3", "conv"): 16 * 64,
        ("layer3_0", "conv1", "conv"): 9 * 128,
        ("blayer2_0", "shortcut", "conv"): 128,
        ("deconv0", "conv"): 16 * 64,  # TensorFlow's: kernel area times output channels
        ("deconv3", "conv"): 16 * 3,
        ("style", "squeeze"): 32,
    }
    for path, fan in fan_in.items():
        layer = params
        for part in path:
            layer = layer[part]
        assert_uniform(layer["kernel"], fan**-0.5)
    assert not params["style"]["excite"]["bias"].any()
    assert "bias" not in params["conv3"]["conv"]
    for norm in (params["conv3"]["norm"], params["layer1_0"]["conv0"]["norm"]["BN"]):
        assert (norm["scale"] == 1).all() and not norm["bias"].any()
    judge = init(DilatedDiscriminator(8))["params"]
    assert_uniform(judge["mConv"]["conv"]["kernel"], (9 * 128) ** -0.5)
    for name in ("atrous", "atrous2", "atrous3"):
        assert_uniform(judge[name]["conv"]["kernel"], (6 / (9 * 128)) ** 0.5)
    wide = shapes_of(DilatedDiscriminator(), (32, 16))[1]["params"]["atrous"]["conv"]["kernel"]
    np.testing.assert_allclose((6 / (9 * sum(wide.shape[2:]))) ** 0.5, 0.02552, atol=5e-6)


def assert_uniform(kernel, bound):
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.06)


def test_which_norm_stands_where():
    def norms(net):
        stats = shapes_of(net, (32, 16))[1].get("batch_stats", {})
        return {jax.tree_util.keystr(p[:-1]) for p, _ in jax.tree_util.tree_leaves_with_path(stats)}

    ibn = {f"['layer{i}_0']['conv0']['norm']['BN']" for i in (1, 2)}
    plain = {"['layer3_0']['conv0']['norm']"}
    assert norms(UnityGenerator(4, 1, merge="concat")) == ibn | plain
    second = {f"['layer{i}_0']['conv1']['norm']" for i in (1, 2, 3)}
    assert norms(UnityGenerator(4, 1)) == ibn | plain | second
    assert norms(UnityGenerator(4, 1, norm="in")) == norms(DilatedDiscriminator(4)) == set()


def test_images_see_one_another_in_training_only(small):
    net, variables = small
    images = draw_images((2, 32, 16, 3))
    others = images.copy()
    others[1] *= 0.3
    apply = jax.jit(partial(net.apply, mutable=["batch_stats"]), static_argnums=2)
    # The second is a pass whose statistics must not count: its update is dropped.
    batch, update = apply(variables, images, True)
    other, _ = apply(variables, others, True)
    assert np.abs(batch[0] - other[0]).max() > 1e-3
    assert (update["batch_stats"]["layer3_0"]["conv0"]["norm"]["var"] != 1).all()
    batch, kept = apply(variables, images, False)
    other, _ = apply(variables, others, False)
    np.testing.assert_allclose(batch[0], other[0], atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])


def test_half_of_the_channels_forget_the_style_of_an_image():
    x = jax.random.normal(jax.random.key(0), (4, 16, 8, 6))
    restyled = x.at[0].set(x[1] * jnp.asarray([1, 2, 4, 1, 2, 4]) + 1)
    variables = IBN().init(jax.random.key(1), x)
    norm = partial(IBN().apply, train=True, mutable=["batch_stats"])
    y, z = norm(variables, x.at[0].set(x[1]))[0], norm(variables, restyled)[0]
    # Equal up to the 1e-5 that is added to the variance.
    np.testing.assert_allclose(z[0, ..., :3], z[1, ..., :3], atol=3e-5)
    np.testing.assert_allclose(z[1:, ..., :3], y[1:, ..., :3], atol=3e-5)
    assert np.abs(y[0, ..., 3:] - z[0, ..., 3:]).max() > 0.5


def test_attention_alone_is_the_same_and_cheap(small):
    net, variables = small
    images = draw_images((2, 32, 16, 3))
    methods = ("attention", "with_attention", "__call__")
    alone, both, images_only = (partial(net.apply, method=name) for name in methods)
    run = jax.jit(lambda *inputs: (alone(*inputs), both(*inputs), images_only(*inputs)))
    attention, (translated, same), again = run(variables, images)
    np.testing.assert_allclose(attention, same, atol=1e-6)
    np.testing.assert_allclose(translated, again, atol=1e-6)
    assert (attention > 0).all() and (attention < 1).all() and np.abs(translated).max() <= 1
    lowered = [jax.jit(f).lower(variables, images) for f in (alone, both)]
    costs = [program.cost_analysis()["flops"] for program in lowered]
    assert costs[0] < 0.2 * costs[1]


def test_half_precision_keeps_float32_parameters_and_statistics(small):
    net, judge = UnityGenerator(4, 1, dtype=jnp.bfloat16), DilatedDiscriminator(4, jnp.bfloat16)
    images = draw_images((2, 32, 16, 3))
    outputs = jax.jit(partial(net.apply, method="with_attention"))(small[1], images)
    judgement, judging = jax.jit(judge.init_with_output)(KEY, images)
    for y in (*outputs, judgement.scores, *judgement.features):
        assert y.dtype == jnp.float32 and np.isfinite(y).all()
    variables = shapes_of(net, (32, 16))[1]
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((variables, judging))}
    assert dtypes == {jnp.dtype("float32")}


def with_attention(net):
    """The net as a function that returns images and attention."""
    method = {"method": "with_attention"}
    return SimpleNamespace(init=partial(net.init, **method), apply=partial(net.apply, **method))


CONVERT = partial(from_torch, transposed=TRANSPOSED)
NETS = {
    "GANimorph generator": ("ganimorph_generator", GANIMORPH(4, 3)),
    "UnityGAN generator, concat": (
        "unitygan_concat",
        with_attention(UnityGenerator(4, 1, "concat")),
    ),
    "GANimorph discriminator": ("ganimorph_discriminator", DilatedDiscriminator(2)),
    "UnityGAN generator, add": ("unitygan_add", with_attention(UnityGenerator(4, 1))),
}


@pytest.mark.parametrize(
    ("name", "mode"), [*((name, "eval") for name in NETS), ("UnityGAN generator, add", "train")]
)
def test_equals_pytorch(name, mode, proof):
    golden, net = NETS[name]
    images = draw_images((2, 48 if "discriminator" in name else 32, 32, 3))
    # Dozens of instance norms over 2x2 pixels amplify float32 rounding a thousandfold.
    deep = golden in ("ganimorph_generator", "unitygan_concat")
    with jax.enable_x64(deep):
        dtype = np.float64 if deep else np.float32
        found, updates = differences(golden, net, [images], CONVERT, mode, dtype)
    oracle = "PyTorch module written from the layer table"
    if name.startswith("GANimorph"):
        oracle = "brownvc/ganimorph model.py, its layers run by PyTorch 2.13"
    for part, error in found.items():
        quantity = f"{name}, {mode}, {part}, relative" + (", float64" if deep else "")
        proof(quantity, oracle, error, 1e-6 if deep else 5e-5)
    if mode == "train":
        theirs = load(golden)[0]["after:layer1.0.conv0.norm.BN.running_mean"]
        ours = updates["batch_stats"]["layer1_0"]["conv0"]["norm"]["BN"]["mean"]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_attention_module_has_an_eighth_of_the_channels_inside():
    _, variables = jax.eval_shape(
        StyleAttention().init_with_output, jax.random.key(0), jnp.zeros((1, 4, 4, 128))
    )
    assert variables["params"]["squeeze"]["kernel"].shape == (1, 1, 128, 16)
