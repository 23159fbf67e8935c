"""SPGAN's contrastive term: which pairs are joined, and which are kept apart."""

from typing import Literal

import jax
from jax.typing import ArrayLike

from jaxreid.losses._arrays import require_option
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
