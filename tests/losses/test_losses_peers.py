"""Values and gradients that the authors' codes gave for the same inputs, recorded as numbers."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses_cases import double
from losses_peers import CLASSES, IDS, INPUTS, checksum, pictures, thinned

from jaxreid import losses

pytestmark = pytest.mark.usefixtures("quick_compiler")

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


def mean(name, *fixed, **options):
    """The mean of a loss, as the codes return it."""
    return lambda *args: getattr(losses, name)(*args, *fixed, **options).mean()


def entropy(epsilon):
    return lambda z: losses.cross_entropy(z, losses.smooth_labels(CLASSES, 5, epsilon)).mean()


def margin_ranking(negative, positive, base=20.0):
    """Anchors at 0, one positive and one negative each; `base` makes distances of the numbers."""

    def one(an, ap):
        real, fake = jnp.stack([jnp.zeros(1), an[None] + base]), ap[None, None] + base
        return losses.fake_triplet(real, jnp.array([0, 1]), fake, jnp.zeros(1, int), margin=0.3)[0]

    return jax.vmap(one)(negative, positive).mean()


def birank(v, t):
    """BDTR's ranking loss, from the features before their normalisation."""
    v, t = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (v, t))
    ids = np.arange(len(v))
    total = sum(side.mean() for side in losses.cross_modality(v, ids, t, ids, margin=0.5))
    for anchors, others in ((v, t), (t, v)):
        pairs = losses.mine_pairs(anchors, ids, others, ids)
        total += 0.1 * losses.intra_modality(others, ids, margin=0.1, pairs=pairs).mean()
    return total


def penalty(x, first, second):
    """Real and fake images are equal, so that the point between them is known."""

    def critic(images):
        return jnp.tanh(images @ first) @ second

    x = jax.lax.stop_gradient(x)
    return losses.gradient_penalty(critic, x, x, jax.random.key(0)).mean()


USUAL = {"window": 11, "constants": (0.01, 0.03), "per_image": True, "absolute": False}
LOSSES = {
    "nonsaturating_generator": (mean("nonsaturating_generator"), INPUTS["scores"][1:]),
    "minimax_generator": (mean("minimax_generator"), INPUTS["scores"][1:]),
    "minimax_discriminator": (mean("minimax_discriminator"), INPUTS["scores"]),
    "lsgan_generator": (mean("lsgan_generator"), INPUTS["scores"][1:]),
    "lsgan_discriminator": (mean("lsgan_discriminator"), INPUTS["scores"]),
    "cycle": (mean("cycle"), INPUTS["images"]),
    "cross_entropy": (entropy(0.0), INPUTS["logits"]),
    "cross_entropy, smoothed": (entropy(0.1), INPUTS["logits"]),
    "cross_entropy, smoothed, BoT": (entropy(0.1), INPUTS["logits"]),
    "cross_entropy, smoothed, torchreid": (entropy(0.1), INPUTS["logits"]),
    "domain_classification": (mean("domain_classification", CLASSES), INPUTS["logits"]),
    "triplet": (mean("triplet", IDS, margin=1.0), INPUTS["embeddings"]),
    "triplet, soft": (mean("triplet", IDS, margin="soft"), INPUTS["embeddings"]),
    "triplet, torchreid": (mean("triplet", IDS, margin=1.0), INPUTS["embeddings"]),
    "triplet, AGW": (mean("triplet", IDS, margin=1.0), INPUTS["embeddings"]),
    "center": (
        lambda x, centers: losses.center(x, IDS, centers).mean(),
        INPUTS["embeddings"] + INPUTS["centers"],
    ),
    "margin ranking": (margin_ranking, list(INPUTS["embeddings"][0][:, :2].T)),
    "contrastive, same": (
        mean("contrastive", True, margin=2, numerics="pytorch"),
        INPUTS["pairs"][:2],
    ),
    "contrastive, different": (
        mean("contrastive", False, margin=2, numerics="pytorch"),
        INPUTS["pairs"][:2],
    ),
    "spgan_contrastive, generators": (
        mean("spgan_contrastive", margin=2, numerics="pytorch"),
        INPUTS["pairs"],
    ),
    "spgan_contrastive, siamese": (
        mean("spgan_contrastive", margin=2, numerics="pytorch", role="siamese"),
        INPUTS["pairs"],
    ),
    "gradient_penalty": (penalty, INPUTS["critic"]),
    "feature_matching": (
        lambda a, b, p, q: losses.feature_matching([a, p], [b, q]),
        INPUTS["features"],
    ),
    "cross_modality and intra_modality": (birank, INPUTS["modalities"]),
    "ms_ssim, usual": (lambda x, y: losses.ms_ssim(x, y, **USUAL), pictures(176)),
    "ms_ssim, GANimorph": (lambda x, y: 1 - losses.ms_ssim(x, y), pictures(128)),
}
LOOSE = {
    "smoothed": 1e-7,  # targets are float32
    "msssim": 1e-5,  # its window is float32
    "contrastive": 2e-6,  # PyTorch's 1e-6 also stands in the distance of equal pairs
    "TensorFlow": 1e-5,  # float32
}


@pytest.mark.parametrize("name", CASES)
@double
def test_same_numbers(name, proof):
    case, (loss, inputs) = CASES[name], LOSSES[name]
    assert checksum(inputs) == case["inputs"], "this NumPy draws other numbers: record anew"
    n = len(case["gradients"])  # one is enough of two alike images

    @jax.jit
    def run(*args):
        value, pull = jax.vjp(lambda *some: loss(*some, *args[n:]), *args[:n])
        return value, pull(jnp.ones_like(value))

    value, slopes = run(*inputs)
    slopes = [thinned(s) for s in slopes] if "ms_ssim" in name else slopes
    loose = next((e for word, e in LOOSE.items() if word in name + case["oracle"]), 1e-9)
    error = np.max(np.abs(np.ravel(value) - case["value"])) / max(1, np.max(np.abs(case["value"])))
    proof(f"{name}, mean", case["oracle"], error, loose)
    for slope, expected in zip(slopes, case["gradients"], strict=True):
        largest = np.max(np.abs(expected)) or 1
        error = np.max(np.abs(np.ravel(slope) - expected)) / largest
        proof(f"{name}, gradient, relative", case["oracle"], error, loose)
