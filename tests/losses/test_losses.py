"""What holds for the whole package: light imports, types, `jit`, `vmap`, `grad`, `checkpoint`."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import losses

pytestmark = pytest.mark.usefixtures("quick_compiler")

X, Y = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).uniform(size=(2, 4, 10, 9, 2)).astype(np.float32)
IDS, KEY = np.array([0, 0, 1, 1]), jax.random.key(0)
SCALE, TARGETS = losses.loss_scale((4,)), losses.smooth_labels(np.array([0, 1, 2, 0]), 3, 0.1)


def critic(images):
    return jnp.tanh(images).mean((-3, -2, -1))


CALLS = {  # every public loss on floating arguments `a` and `b`
    "pairwise_distance": lambda a, b: losses.pairwise_distance(a, b),
    "triplet": lambda a, b: losses.triplet(a + b, IDS, margin=1.0),
    "fake_triplet": lambda a, b: losses.fake_triplet(a, IDS, b, IDS, margin=1.0),
    "center": lambda a, b: losses.center(a, IDS, b),
    "contrastive": lambda a, b: losses.contrastive(a, b, IDS == 0, margin=2.0),
    "spgan_contrastive": lambda a, b: losses.spgan_contrastive(a, a + b, b, a * b, margin=2.0),
    "tone": lambda a, b: losses.tone(a, IDS, b, np.roll(IDS, 1)),
    "cross_modality": lambda a, b: losses.cross_modality(a, IDS, b, IDS, margin=0.5),
    "intra_modality": lambda a, b: losses.intra_modality(
        a, IDS, margin=2.0, pairs=losses.mine_pairs(b, IDS, a, IDS)
    ),
    "cross_entropy": lambda a, b: losses.cross_entropy(a + b, TARGETS),
    "joint_cross_entropy": lambda a, b: losses.joint_cross_entropy(a, b, TARGETS),
    "domain_classification": lambda a, b: losses.domain_classification(a + b, IDS),
    "mean": lambda a, b: losses.mean(a, b**2),
    "mmd": lambda a, b: losses.mmd(a, b**2),
    "scheduled_normalization": lambda a, b: losses.scheduled_normalization(
        a[:, 0] * b[:, 0], SCALE, update=True
    ),
    "style_weights": lambda a, b: losses.style_weights((a * b) ** 2, weight_grad="flow"),
    "style_unity": lambda a, b: losses.style_unity(a[:, 0], b**2),
    "feature_matching": lambda a, b: losses.feature_matching([a, a**2], [b, b**2]),
} | {
    name: lambda a, b, name=name: getattr(losses, name)(
        *((a, b) if name.endswith(("discriminator", "critic")) else (a * b,))
    )
    for name in losses.__all__
    if name.endswith(("_generator", "_discriminator", "_critic"))
}
IMAGE_CALLS = {
    "cycle": losses.cycle,
    "identity_mapping": losses.identity_mapping,
    "masked_identity": lambda a, b: losses.masked_identity(a, b, a > 0.5, norm="l2"),
    "context": lambda a, b: losses.context(a, b, a * b, a[..., :1], b[..., :1]),
    "ms_ssim": losses.ms_ssim,
    "gradient_penalty": lambda a, b: losses.gradient_penalty(critic, a, b, KEY),
}
ALL = [(name, call, X, Y) for name, call in CALLS.items()]
ALL += [(name, call, *IMAGES) for name, call in IMAGE_CALLS.items()]
NOT_LOSSES = {"LossScale", "loss_scale", "smooth_labels", "lsro_labels", "mine_pairs"}


def test_every_public_loss_is_called_here():
    assert {name for name, *_ in ALL} | NOT_LOSSES == set(losses.__all__)


@pytest.mark.parametrize(("name", "call", "x", "y"), ALL, ids=[name for name, *_ in ALL])
def test_transformations_and_types(name, call, x, y):
    """`jit`, `vmap`, `grad` and `checkpoint` change nothing; bfloat16 is computed in float32."""

    def total(a, b):
        return sum(leaf.sum() for leaf in jax.tree.leaves(call(a, b)))

    def everything(a, b):
        value, slopes = jax.value_and_grad(total, (0, 1))(a, b)
        again = jax.value_and_grad(jax.checkpoint(total), (0, 1))(a, b)
        return call(a, b), (value, slopes), again

    plain = call(x, y)
    once = jax.jit(everything)
    compiled, taken, again = once(x, y)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, compiled
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), taken, again)
    stacked = jax.jit(jax.vmap(everything))(np.stack([x, y]), np.stack([y, x + y]))
    loop = [once(x, y), once(y, x + y)]
    loop = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), stacked, loop)
    halves = jax.eval_shape(everything, *(jnp.asarray(z, jnp.bfloat16) for z in (x, y)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(halves[0])), name
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(halves[1][1])), name


def test_importing_losses_is_light():
    code = (
        "import sys, jaxreid.losses\n"
        "heavy = 'tensorflow tensorflow_datasets PIL matplotlib orbax flax optax'.split()\n"
        "print(sorted(set(heavy) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
