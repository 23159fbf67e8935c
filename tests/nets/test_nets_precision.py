"""Networks told to compute in bfloat16: their multiplications do, and what surrounds them not."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.extend.core import jaxprs_in_params

from jaxreid.nets import (
    alexnet,
    crgan,
    cyclegan,
    dcgan,
    discogan,
    heads,
    pngan,
    sianet,
    stargan,
    streams,
    unet,
    unitygan,
)
from jaxreid.nets.efficientnet import EfficientNetLite0
from jaxreid.nets.reid import ReID
from jaxreid.nets.resnet import ResNet
from jaxreid.stages.repelled import Repelled
from jaxreid.training.precision import cached, computing, dtype, in_dtype

PICTURES, WIDE = (2, 64, 32, 3), (2, 64, 64, 3)
LABELS = (2, 5)
NETS = {
    "cyclegan": (cyclegan.ResnetGenerator(4, 1), PICTURES),
    "patchgan": (cyclegan.PatchGAN(4), PICTURES),
    "stargan": (stargan.Generator(4, 1), PICTURES, LABELS),
    "stargan_judge": (stargan.Discriminator(5, 4, 3), PICTURES),
    "dcgan": (dcgan.Generator((64, 32), 4), (2, 10)),
    "dcgan_judge": (dcgan.Discriminator(4), PICTURES),
    "conditional": (dcgan.ConditionalGenerator((64, 32), 4), (2, 10), LABELS),
    "conditional_judge": (dcgan.ConditionalDiscriminator(4), PICTURES, LABELS),
    "discogan": (discogan.Generator(4), WIDE),
    "discogan_judge": (discogan.Discriminator(4), WIDE),
    "unitygan": (unitygan.UnityGenerator(4, 1), PICTURES),
    "unitygan_judge": (unitygan.DilatedDiscriminator(4), PICTURES),
    "unet": (unet.UNet(5, 4), WIDE),
    "crgan": (crgan.ContextGenerator(4, 1), PICTURES, PICTURES, (2, 64, 32, 1)),
    "cameras": (crgan.CameraClassifier(5, 4), PICTURES),
    "pngan": (pngan.Generator(4, 1), PICTURES, PICTURES),
    "pngan_judge": (pngan.Discriminator(4), WIDE),
    "sianet": (sianet.SiaNet(4, 2), PICTURES),
    "streams": (streams.TwoStreamResNet(5, 18, 4, stem="small"), PICTURES, PICTURES),
    "zero_padding": (streams.ResNet6(5, "zero_padding", 4, 8, 0.0), PICTURES, PICTURES),
    "alexnet": (alexnet.small(5), PICTURES, PICTURES),
    "efficientnet": (ReID(EfficientNetLite0(0.25), heads.Direct(5)), PICTURES),
    "repelled": (ReID(ResNet(18, 4, stem="small"), Repelled()), PICTURES),
    **{
        name: (ReID(ResNet(34, 4, stem="small"), head(5)), PICTURES)
        for name, head in heads.HEADS.items()
    },
}


def told(net: nn.Module) -> nn.Module:
    with computing("bfloat16"):
        return in_dtype(net)


def types(jaxpr, primitives=("conv_general_dilated", "dot_general")):
    """Types that convolutions and products of matrices take."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in primitives:
            found |= {str(x.aval.dtype) for x in equation.invars}
        for inner in jaxprs_in_params(equation.params):
            found |= types(inner, primitives)
    return found


@pytest.mark.parametrize("name", NETS)
def test_products_are_of_bfloat16_and_all_else_stays_float32(name):
    net, *shapes = NETS[name]
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    net = told(net)
    variables = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(variables)} == {"float32"}

    def turn(variables, *inputs):
        keys = {"dropout": jax.random.key(1)}
        return net.apply(variables, *inputs, train=True, mutable=["batch_stats"], rngs=keys)

    program, left = jax.make_jaxpr(turn, return_shape=True)(variables, *inputs)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(left)} == {"float32"}
    assert types(program.jaxpr) == {"bfloat16"}


def test_outside_nothing_changes():
    net = ReID(ResNet(18, 4), heads.BNNeck(5))
    assert in_dtype(net) is net
    assert (told(net).backbone.dtype, told(net).head.dtype, net.backbone.dtype) == (
        "bfloat16",
        "bfloat16",
        None,
    )
    with pytest.raises(ValueError, match="config.dtype is 'half'; choose one of float32, bfl"):
        with computing("half"):
            pass
    assert dtype() == "float32"


def test_a_cache_tells_types_apart():
    made = cached(lambda name: (dtype(), name))
    assert made("a") == ("float32", "a")
    with computing("bfloat16"):
        assert made("a") == ("bfloat16", "a")
    assert made("a") is made("a")
