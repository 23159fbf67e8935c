"""Losses between visible and infrared images of the same people (BDTR, CE2L).

Embeddings are taken as given; both papers normalise them to unit length first.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, present, require_option, require_rows, require_same
from jaxreid.losses._mining import (
    Margin,
    hardest,
    hinge,
    pairwise_distance,
    pick,
    row_distance,
    rows,
    take,
)


def cross_modality(
    visible: ArrayLike,
    visible_labels: ArrayLike,
    thermal: ArrayLike,
    thermal_labels: ArrayLike,
    *,
    margin: Margin,
    positives: Literal["hardest", "all"] = "hardest",
    visible_where: ArrayLike | None = None,
    thermal_where: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""Cross-modality top-ranking: a hinge on hardest positive and negative of the other modality.

    $$\ell^v_i = \left[m + \max_{j:\,y_j = y_i} D(v_i, t_j)
    - \min_{k:\,y_k \ne y_i} D(v_i, t_k)\right]_+$$

    and $\ell^t_i$ with the roles exchanged; L_cross is the sum of the two means.

    Args:
        visible: embeddings of visible images `[N, D]`, usually of unit length.
        visible_labels: identities `[N]`.
        thermal: embeddings of infrared images `[M, D]`.
        thermal_labels: identities `[M]`.
        margin: m >= 0, 0.5 in BDTR, or 'soft' for $\log(1 + e^{\,ap - an})$ instead of the hinge.
        positives: 'hardest' as BDTR's code, or 'all' for the sum over every positive pair as CE2L
            prints it; they are equal when each identity has one image per modality.
        visible_where: booleans `[N]`; other rows take no part and get 0.
        thermal_where: booleans `[M]`, likewise.

    Returns:
        The losses of visible anchors `[N]` and of infrared anchors `[M]`, each >= 0; 0 for rows
        without a positive or without a negative.

    Raises:
        ValueError: on other shapes or unknown `positives`.

    References:
        Ye, Wang, Lan, Yuen, "Visible Thermal Person Re-Identification via Dual-Constrained
        Top-Ranking" (BDTR), IJCAI 2018; l_cross of CE2L (seed 001).
    """
    require_option("positives", positives, ("hardest", "all"))
    v = rows("cross_modality", visible, visible_labels, visible_where)
    t = rows("cross_modality", thermal, thermal_labels, thermal_where)
    sides = (
        (v, visible_where, t, thermal_where),
        (t, thermal_where, v, visible_where),
    )
    first, second = (
        keep(_ranking(anchors, others, others_where, margin, positives), anchors_where)
        for anchors, anchors_where, others, others_where in sides
    )
    return first, second


def mine_pairs(
    anchors: ArrayLike,
    anchor_labels: ArrayLike,
    others: ArrayLike,
    other_labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""Indices of every anchor's farthest positive and nearest negative in another set.

    $$p_i = \operatorname{argmax}_{j:\,y_j = y_i} D(a_i, o_j), \qquad
    k_i = \operatorname{argmin}_{j:\,y_j \ne y_i} D(a_i, o_j)$$

    Args:
        anchors: embeddings `[N, D]`.
        anchor_labels: identities `[N]`.
        others: embeddings `[M, D]`.
        other_labels: identities `[M]`.
        where: booleans `[M]`; other rows are not picked.

    Returns:
        $(p, k)$, integers `[N]`, the first of equally far rows, -1 where there is none; constants
        for differentiation. They are the `pairs` of `intra_modality`.

    Raises:
        ValueError: on other shapes.

    References:
        The mining of BDTR's code, shared by its two terms (seed 001).
    """
    x, y = rows("mine_pairs", anchors, anchor_labels, None)
    z, other_y = rows("mine_pairs", others, other_labels, where)
    valid = present(where)
    same = y[:, None] == other_y
    return pick(x, z, same & valid, "farthest"), pick(x, z, ~same & valid, "nearest")


def intra_modality(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float,
    pairs: tuple[ArrayLike, ArrayLike] | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Intra-modality constraint: different identities of one modality at least a margin apart.

    $$\ell_i = \left[m - D(x_{p_i}, x_{k_i})\right]_+$$

    with the given pairs (BDTR: an anchor's hardest positive and hardest negative, both in this
    modality, mined from the other one with `mine_pairs`). Without pairs

    $$\ell_i = \left[m - \min_{k:\,y_k \ne y_i} D(x_i, x_k)\right]_+$$

    which is never smaller than the first form when $p_i = i$.

    Args:
        embeddings: `[N, D]` of one modality.
        labels: identities `[N]`; not read when `pairs` are given.
        margin: m, 0.1 in BDTR.
        pairs: indices $(p, k)$, each `[A]`; a pair with -1 gets 0.
        where: booleans over the values returned; others get 0. Without `pairs` such rows are not
            picked either; with them rows that no pair names may hold anything.

    Returns:
        One value in [0, margin] per pair `[A]`, or per row `[N]`; 0 for a row without a negative.
        Of equally near negatives the first is taken.

    Raises:
        ValueError: on other shapes.

    References:
        BDTR (Ye et al., IJCAI 2018); l_intra of CE2L (seed 001), which prints
        $[\rho_2 - D(t_j, t_k)]_+ + [\rho_2 - D(v_j, v_k)]_+$ without saying which j and k.
    """
    if pairs is None:
        x, y = rows("intra_modality", embeddings, labels, where)
        valid = present(where)
        first = jnp.arange(len(y))
        second = pick(x, x, (y[:, None] != y) & valid, "nearest")
    else:
        x = floats(embeddings)
        require_rows("intra_modality", x, None)
        first, second = (jnp.asarray(index) for index in pairs)
        require_same("intra_modality's pairs", first, second)
    found = keep((first >= 0) & (second >= 0), where)
    ends = (take(x, jnp.where(found, index, -1)) for index in (first, second))
    return jnp.where(found, jax.nn.relu(margin - row_distance(*ends)), 0.0)


def _ranking(
    anchors: tuple[jax.Array, jax.Array],
    others: tuple[jax.Array, jax.Array],
    others_where: ArrayLike | None,
    margin: Margin,
    positives: Literal["hardest", "all"],
) -> jax.Array:
    """One direction of `cross_modality`."""
    (x, y), (z, other_y) = anchors, others
    valid = present(others_where)
    positive = (y[:, None] == other_y) & valid
    negative = (y[:, None] != other_y) & valid
    distance = pairwise_distance(x, z)
    near = hardest(distance, negative, "nearest")
    found = positive.any(1) & negative.any(1)
    if positives == "hardest":
        return hinge(hardest(distance, positive, "farthest"), near, margin, found)
    return hinge(distance, near[:, None], margin, positive & found[:, None]).sum(1)
