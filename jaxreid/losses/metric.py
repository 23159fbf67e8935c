"""Losses on distances between embeddings: triplets, centers, pairs.

Embeddings are taken as given; whoever wants them of unit length normalises them first.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, present, require_option, require_same
from jaxreid.losses._mining import CLAMP, Margin, hardest, hinge, pairwise_distance, rows

__all__ = ["center", "contrastive", "fake_triplet", "pairwise_distance", "triplet"]

Numerics = Literal["clamped", "tensorflow", "pytorch"]


def triplet(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    margin: Margin,
    include_anchor: bool = True,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Batch-hard triplet loss: every row against its farthest positive and nearest negative.

    $$\ell_a = \left[m + \max_{p:\,y_p = y_a} D(x_a, x_p)
    - \min_{n:\,y_n \ne y_a} D(x_a, x_n)\right]_+$$

    Args:
        embeddings: `[N, D]`.
        labels: identities `[N]`.
        margin: m >= 0, or 'soft' for $\log(1 + e^{\,ap - an})$ in place of the hinge.
        include_anchor: whether the anchor counts among its own positives, at distance 1e-6. It
            matters only for identities with a single row: then the loss is that of their nearest
            negative alone; otherwise they get 0.
        where: booleans `[N]`; other rows are neither anchor, positive nor negative, and get 0.

    Returns:
        One value >= 0 per row, `[N]`; 0 for a row without a negative. The gradient reaches the
        anchor, its positive and its negative; rows tied to within rounding share it.

    Raises:
        ValueError: on other shapes.

    References:
        Hermans, Beyer, Leibe, 2017, eq. 5; L_tri of Qin et al., ICANN 2019 (seed 000), which prints
        a sum over anchors; the PyTorch codes take the mean and keep the anchor among its
        positives, Hermans et al. remove it.
    """
    x, y = rows("triplet", embeddings, labels, where)
    valid = present(where)
    same = (y[:, None] == y) & valid
    positive = same if include_anchor else same & ~jnp.eye(len(y), dtype=bool)
    negative = (y[:, None] != y) & valid
    distance = jnp.where(jnp.eye(len(y), dtype=bool), CLAMP**0.5, pairwise_distance(x, x))
    far, near = hardest(distance, positive, "farthest"), hardest(distance, negative, "nearest")
    return keep(hinge(far, near, margin, positive.any(1) & negative.any(1)), where)


def fake_triplet(
    real: ArrayLike,
    real_labels: ArrayLike,
    fake: ArrayLike,
    fake_labels: ArrayLike,
    *,
    margin: Margin,
    negatives: Literal["real", "fake", "all"] = "real",
    real_where: ArrayLike | None = None,
    fake_where: ArrayLike | None = None,
) -> jax.Array:
    r"""Triplet loss of real anchors with generated positives.

    $$\ell_a = \left[m + \max_{p:\,y^f_p = y_a} D(x_a, x^f_p)
    - \min_{n:\,y_n \ne y_a} D(x_a, x_n)\right]_+$$

    Args:
        real: embeddings of real images `[N, D]`.
        real_labels: their identities `[N]`.
        fake: embeddings of generated images `[M, D]`.
        fake_labels: the identities they were generated from `[M]`.
        margin: m >= 0, or 'soft' for $\log(1 + e^{\,ap - an})$.
        negatives: where $x_n$ comes from: 'real' (the paper as we read it), 'fake' or 'all'.
        real_where: booleans `[N]`; other rows are neither anchor nor negative, and get 0.
        fake_where: booleans `[M]`; other rows are neither positive nor negative.

    Returns:
        One value >= 0 per real row, `[N]`; 0 for a row without a generated image of its identity or
        without a negative. No generated image is an anchor, so generated images do not attract
        each other.

    Raises:
        ValueError: on other shapes, widths that differ, or unknown `negatives`.

    References:
        L_fake of Qin et al., "Learning Camera-invariant Representation", ICANN 2019 (seed 000),
        which prints a sum over anchors and leaves open where the negatives come from.
    """
    require_option("negatives", negatives, ("real", "fake", "all"))
    x, y = rows("fake_triplet", real, real_labels, real_where)
    z, fake_y = rows("fake_triplet", fake, fake_labels, fake_where)
    real_valid, fake_valid = present(real_where), present(fake_where)
    positive = (y[:, None] == fake_y) & fake_valid
    to_real, to_fake = pairwise_distance(x, x), pairwise_distance(x, z)
    pools = {
        "real": (to_real, (y[:, None] != y) & real_valid),
        "fake": (to_fake, (y[:, None] != fake_y) & fake_valid),
    }
    chosen = list(pools.values()) if negatives == "all" else [pools[negatives]]
    distance = jnp.concatenate([part for part, _ in chosen], axis=1)
    negative = jnp.concatenate([mask for _, mask in chosen], axis=1)
    far, near = hardest(to_fake, positive, "farthest"), hardest(distance, negative, "nearest")
    return keep(hinge(far, near, margin, positive.any(1) & negative.any(1)), real_where)


def center(
    embeddings: ArrayLike,
    labels: ArrayLike,
    centers: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Squared distance of every embedding to the center of its identity.

    $$\ell_i = \lVert x_i - c_{y_i} \rVert^2$$

    Args:
        embeddings: `[N, D]`.
        labels: identities in `[0, K)`, `[N]`; rows with others have no center and get 0.
        centers: `[K, D]`, trained beside the network (BoT: from N(0, 1), SGD with rate 0.5).
        where: booleans `[N]`; other rows get 0 and no gradient.

    Returns:
        One value >= 0 per row, `[N]`; gradients reach embeddings and centers.

    Raises:
        ValueError: on other shapes.

    References:
        Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV
        2016, eq. 2, whose factor 1/2 is left out as in the re-ID codes; Luo et al., "Bag of
        Tricks", CVPRW 2019, weight 5e-4. Their code also adds 1e-12 (K - 1), the clamp of the
        other identities.
    """
    x, y = rows("center", embeddings, labels, where)
    c = floats(centers)
    if c.ndim != 2 or c.shape[1] != x.shape[1]:
        raise ValueError(f"center takes centers [K,{x.shape[1]}], not {c.shape}.")
    squares = jnp.square(x - c.at[y].get(mode="clip")).sum(1)
    return keep(jnp.where((y >= 0) & (y < len(c)), squares, 0.0), where)


def contrastive(
    x: ArrayLike,
    y: ArrayLike,
    same: ArrayLike,
    *,
    margin: float,
    numerics: Numerics = "clamped",
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Contrastive loss of pairs: together if the same, at least a margin apart if not.

    $$\ell = s\,d^2 + (1 - s)\,[m - d]_+^2, \qquad d = \lVert x - y \rVert$$

    Args:
        x: embeddings `[..., D]`, of unit length in SPGAN.
        y: embeddings `[..., D]`.
        same: booleans `[...]` (or one for all): s. The paper's label is 1 for the same, its codes
            use 0.
        margin: m, 2 in SPGAN: unit vectors are at most 2 apart, so the hinge never rests.
        numerics: how d of a different pair stays differentiable at 0: 'clamped'
            $\sqrt{\max(d^2, 10^{-12})}$, 'tensorflow' $\sqrt{d^2 + 10^{-6}}$ or 'pytorch'
            $\lVert x - y + 10^{-6} \rVert$; they differ by at most 1e-3 at d = 0.
        where: booleans `[...]`; other pairs get 0 and no gradient.

    Returns:
        One value >= 0 per pair, `[...]`.

    Raises:
        ValueError: if the shapes differ or `numerics` is unknown.

    References:
        Hadsell, Chopra, LeCun, CVPR 2006, without its factor 1/2; Deng et al. (SPGAN), CVPR 2018,
        eq. 5 (seeds 002, 003).
    """
    require_option("numerics", numerics, ("clamped", "tensorflow", "pytorch"))
    x, y = floats(x), floats(y)
    require_same("contrastive", x, y)
    difference = keep(x, where) - keep(y, where)
    together = jnp.square(difference).sum(-1)
    if numerics == "pytorch":
        apart = jnp.sqrt(jnp.maximum(jnp.square(difference + 1e-6).sum(-1), CLAMP**2))
    elif numerics == "tensorflow":
        apart = jnp.sqrt(together + 1e-6)
    else:
        apart = jnp.sqrt(jnp.maximum(together, CLAMP))
    same = jnp.asarray(same, bool)
    if same.shape not in ((), together.shape):
        raise ValueError(f"contrastive takes `same` {together.shape} or one, not {same.shape}.")
    return keep(jnp.where(same, together, jnp.square(jax.nn.relu(margin - apart))), where)
