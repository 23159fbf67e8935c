"""Contrastive terms of SPGAN and TONE: which pairs are joined, and which are kept apart."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, require_option, require_rows, require_same
from jaxreid.losses._mining import CLAMP
from jaxreid.losses.metric import Numerics, contrastive


def spgan_contrastive(
    x: ArrayLike,
    mapped_x: ArrayLike,
    y: ArrayLike,
    mapped_y: ArrayLike,
    *,
    margin: float,
    pairs: Literal["paper", "tensorflow", "pytorch"] = "pytorch",
    role: Literal["generators", "siamese"] = "generators",
    numerics: Numerics = "clamped",
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""SPGAN's contrastive term: an image keeps its embedding, and stays unlike the other domain.

    With $s(a, b)$ and $d(a, b)$ for `contrastive` of a same and of a different pair, and G(x), F(y)
    the translations:

    * 'paper': $s(x, Gx) + s(y, Fy) + d(Gx, y) + d(Fy, x)$
    * 'tensorflow': $[s(x, Gx) + s(y, Fy) + 2\,d(x, y)] / 3$
    * 'pytorch', generators: $[s(x, Gx) + s(y, Fy) + \tfrac12 (d(Gx, y) + d(Fy, x))] / 4$
    * 'pytorch', siamese net: as 'tensorflow'

    Args:
        x: embeddings of source images `[B, D]`.
        mapped_x: embeddings of their translations G(x).
        y: embeddings of target images `[B, D]`, another B persons.
        mapped_y: embeddings of their translations F(y).
        margin: m, 2 in SPGAN.
        pairs: which version. Only in 'paper' and 'pytorch' do negatives reach the generators: those
            of 'tensorflow' join two real images.
        role: who is trained; only 'pytorch' tells them apart.
        numerics: see `contrastive`.
        where: booleans `[B]`; other rows get 0 and no gradient.

    Returns:
        One value >= 0 per row, `[B]`. Weight 2 in the generators' loss.

    Raises:
        ValueError: if shapes differ or an option is unknown.

    References:
        Deng et al., "Image-Image Domain Adaptation with Preserved Self-Similarity and
        Domain-Dissimilarity for Person Re-identification", CVPR 2018, eq. 5 (seeds 002, 003), and
        its authors' TensorFlow and PyTorch codes.
    """
    require_option("pairs", pairs, ("paper", "tensorflow", "pytorch"))
    require_option("role", role, ("generators", "siamese"))

    def pair(a: ArrayLike, b: ArrayLike, same: bool) -> jax.Array:
        return contrastive(a, b, same, margin=margin, numerics=numerics, where=where)

    together = pair(x, mapped_x, True) + pair(y, mapped_y, True)
    if pairs == "tensorflow" or (pairs == "pytorch" and role == "siamese"):
        return (together + 2 * pair(x, y, False)) / 3
    apart = pair(mapped_x, y, False) + pair(mapped_y, x, False)
    return together + apart if pairs == "paper" else (together + 0.5 * apart) / 4


def tone(
    visible: ArrayLike,
    visible_labels: ArrayLike,
    thermal: ArrayLike,
    thermal_labels: ArrayLike,
    *,
    margin: float = 0.5,
    normalize_axis: Literal["features", "batch"] = "features",
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""TONE's contrastive term: pair i is visible and thermal image i, of one person or of two.

    $$\ell_i = \tfrac12 \left(y_i d_i^2 + (1 - y_i) [m - d_i]_+^2\right), \qquad
    d_i = \lVert \hat v_i - \hat t_i \rVert$$

    with $y_i$ 1 for equal labels and $\hat x = x / \sqrt{\max(\lVert x \rVert^2, 10^{-12})}$.

    Args:
        visible: embeddings of visible images `[N, D]`, as the network gives them.
        visible_labels: identities `[N]`.
        thermal: embeddings of infrared images `[N, D]`.
        thermal_labels: identities `[N]`.
        margin: m, 0.5 in TONE: hardly apart, for unit vectors are at most 2 apart.
        normalize_axis: 'features' brings each embedding to unit length; 'batch' each feature over
            the batch, as the authors' code does, surely by mistake.
        where: booleans `[N]`; other pairs get 0, pass no gradient, and do not count in a norm over
            the batch.

    Returns:
        One value per pair `[N]`, >= 0. TONE adds 0.2 times their mean to the mean cross-entropy of
        all 2 N images.

    Raises:
        ValueError: on other shapes or unknown `normalize_axis`.

    References:
        Ye, Lan, Li, Yuen, "Hierarchical Discriminative Learning for Visible Thermal Person
        Re-Identification", AAAI 2018, whose first stage TONE is, and its authors' code (seed 001).
        At d = 0 of two persons its slope is infinite, here 0.
    """
    require_option("normalize_axis", normalize_axis, ("features", "batch"))
    v, t = floats(visible), floats(thermal)
    labels = jnp.asarray(visible_labels), jnp.asarray(thermal_labels)
    for x, y in zip((v, t), labels, strict=True):
        require_rows("tone", x, y)
    require_same("tone", v, t)
    axis = 1 if normalize_axis == "features" else 0

    def unit(x: jax.Array) -> jax.Array:
        x = keep(x, where)
        return x / jnp.sqrt(jnp.maximum(jnp.square(x).sum(axis, keepdims=True), CLAMP))

    same = labels[0] == labels[1]
    return contrastive(unit(v), unit(t), same, margin=margin, where=where) / 2
