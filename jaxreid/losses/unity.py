"""UnityGAN's balance of losses: scheduled normalisation, and weights from style attention."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, require_option, require_same


class LossScale(NamedTuple):
    """The running state of one normalised loss; arrays only, so it is saved with the rest."""

    average: jax.Array
    denominator: jax.Array


def loss_scale(shape: tuple[int, ...] = ()) -> LossScale:
    r"""The state before the first step: running average and denominator are 1.

    Args:
        shape: of the loss: `()` for a scalar, `(C,)` for one state per camera.

    Returns:
        A `LossScale` of float32 ones.

    References:
        GANimorph's code (Gokaslan et al., ECCV 2018).
    """
    return LossScale(jnp.ones(shape), jnp.ones(shape))


def scheduled_normalization(
    value: ArrayLike,
    state: LossScale,
    *,
    update: ArrayLike,
    beta: float = 0.99,
    epsilon: float = 1e-10,
) -> tuple[jax.Array, LossScale]:
    r"""Scheduled loss normalisation (SLN): a loss divided by its own running size.

    $$a \leftarrow \beta a + (1 - \beta) L, \qquad n \leftarrow a \text{ on update steps},
    \qquad \operatorname{SLN}(L) = \frac{L}{n + \epsilon}$$

    Args:
        value: L, a loss term before its weight; any shape.
        state: from `loss_scale` or the step before, of that shape.
        update: boolean (may be traced): whether the denominator moves in this step, e.g.
            `step % 200 == 0`. It then already contains L.
        beta: share of the old average, in [0, 1).
        epsilon: keeps the quotient finite.

    Returns:
        The normalised loss and the new state. The denominator carries no gradient, so the gradient
        is that of L, scaled. The average has no bias correction.

    Raises:
        ValueError: if loss and state differ in shape.

    References:
        Gokaslan et al. (GANimorph), ECCV 2018: 0.99 and every 200 steps in the paper, 0.9999 and 90
        in the code; UnityGAN's objective (seed 004) wraps each of its four terms in it.
    """
    value = floats(value)
    fixed, state = jax.lax.stop_gradient((value, state))
    require_same("scheduled_normalization", value, state.average)
    average = beta * state.average + (1.0 - beta) * fixed
    denominator = jnp.where(jnp.asarray(update, bool), average, state.denominator)
    return value / (denominator + epsilon), LossScale(average, denominator)


def style_weights(
    attention: ArrayLike,
    *,
    weight_grad: Literal["stop", "flow"] = "stop",
    weight_norm: Literal["sum1", "none"] = "sum1",
) -> jax.Array:
    r"""One weight per camera from its style attention.

    $$w_c = \frac{\bar A_c}{\sum_{c'} \bar A_{c'}}, \qquad
    \bar A_c = \operatorname{mean}\, A(y^{(c)})$$

    Args:
        attention: A in (0, 1) of each camera's images, `[C, ...]`; the mean runs over all axes but
            the first, as A is a map and the loss it weighs a number.
        weight_grad: 'stop' cuts the gradient: with 'flow' attention could vanish to lower the loss.
        weight_norm: 'sum1' divides by the sum, 'none' does not. The printed formula is ('flow',
            'none').

    Returns:
        Weights `[C]`; all 0 where attention is 0 everywhere.

    Raises:
        ValueError: if there is no axis of cameras, or on unknown options.

    References:
        Liu, Chang, Shen (UnityStyle), CVPR 2020 (seed 004): $A(x) = \sigma(A_{style}(G_1(x)))$; the
        reduction of the map is our choice.
    """
    require_option("weight_grad", weight_grad, ("stop", "flow"))
    require_option("weight_norm", weight_norm, ("sum1", "none"))
    maps = floats(attention)
    if maps.ndim < 1:
        raise ValueError(f"style_weights takes attention [C,...], not {maps.shape}.")
    means = maps.mean(tuple(range(1, maps.ndim)))
    if weight_grad == "stop":
        means = jax.lax.stop_gradient(means)
    if weight_norm == "none":
        return means
    total = means.sum()
    return means / jnp.where(total > 0, total, 1.0)


def style_unity(
    losses: ArrayLike,
    attention: ArrayLike,
    *,
    weight_grad: Literal["stop", "flow"] = "stop",
    weight_norm: Literal["sum1", "none"] = "sum1",
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""UnityStyle loss: the loss towards each camera, weighted by that camera's style attention.

    $$L = \sum_c w_c\, L_c$$

    Args:
        losses: L_c, UnityGAN's loss (or one of its terms, before normalisation) of the images x of
            this model's camera against images of camera c, `[C]`.
        attention: A of each camera's images, `[C, ...]`; see `style_weights`.
        weight_grad: see `style_weights`.
        weight_norm: see `style_weights`.
        where: booleans `[C]`; other cameras get no weight.

    Returns:
        A scalar.

    Raises:
        ValueError: if the numbers of cameras differ, or on unknown options.

    References:
        UnityStyle (Liu, Chang, Shen, CVPR 2020), $L = \sum_c A(y^{(c)}) L_{UnityGAN}(x, y^{(c)})$
        (seed 004).
    """
    terms, maps = floats(losses), floats(attention)
    if terms.ndim != 1 or maps.shape[:1] != terms.shape:
        raise ValueError(
            f"style_unity takes losses [C] and attention [C,...], not {terms.shape} "
            f"and {maps.shape}."
        )
    weights = style_weights(keep(maps, where), weight_grad=weight_grad, weight_norm=weight_norm)
    return (weights * keep(terms, where)).sum()
