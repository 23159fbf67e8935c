"""Adversarial losses, one value per score: of a patch map as a rule.

Scores are logits for the logarithmic losses and unbounded numbers for the others. The caller takes
the mean over everything and cuts the gradient where a net is not to be trained.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, require_option, require_same
from jaxreid.losses.reduction import mean


def lsgan_generator(fake: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    r"""Least-squares loss of the generator.

    $$\ell = (f - 1)^2$$

    Args:
        fake: the discriminator's scores f of generated images, any shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value >= 0 per score, same shape.

    References:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, eq. 9; the choice of
        CycleGAN and of its re-ID descendants CamStyle, PTGAN, SPGAN and PN-GAN (seeds 002, 004).
    """
    return keep(jnp.square(keep(floats(fake), where) - 1.0), where)


def lsgan_discriminator(
    real: ArrayLike, fake: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""Least-squares loss of the discriminator.

    $$\ell = \tfrac12\left[(r - 1)^2 + f^2\right]$$

    Args:
        real: scores r of real images, any shape.
        fake: scores f of generated images (cut off from the generator's gradient), same shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value >= 0 per score, same shape. The factor 1/2 is the one of CycleGAN, CamStyle,
        PTGAN and SPGAN; PN-GAN has none (multiply by 2).

    Raises:
        ValueError: if the shapes differ.

    References:
        Mao et al., ICCV 2017, eq. 9; Zhu et al. (CycleGAN), ICCV 2017, section 4.
    """
    real, fake = _scores("lsgan_discriminator", real, fake, where)
    return keep(0.5 * (jnp.square(real - 1.0) + jnp.square(fake)), where)


def nonsaturating_generator(fake: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    r"""Logarithmic loss of the generator in its non-saturating form.

    $$\ell = -\log \sigma(f) = \log(1 + e^{-f})$$

    Args:
        fake: logits f of generated images, any shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value >= 0 per score, same shape; its slope lies in (-1, 0).

    References:
        Goodfellow et al., NIPS 2014, section 3; DCGAN, pix2pix, DiscoGAN, GANimorph, hence LSRO and
        UnityStyle; CR-GAN's L_adv as it is optimised (seeds 002, 003, 004).
    """
    return keep(jax.nn.softplus(-keep(floats(fake), where)), where)


def nonsaturating_discriminator(
    real: ArrayLike, fake: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""Logarithmic loss of the discriminator, halved.

    $$\ell = -\tfrac12\left[\log \sigma(r) + \log(1 - \sigma(f))\right]$$

    Args:
        real: logits r of real images, any shape.
        fake: logits f of generated images (cut off from the generator's gradient), same shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value >= 0 per score, same shape. DiscoGAN and GANimorph have the factor 1/2; DCGAN and
        pix2pix have none (multiply by 2, or use `minimax_discriminator`).

    Raises:
        ValueError: if the shapes differ.

    References:
        Goodfellow et al., NIPS 2014, eq. 1 (seeds 002, 003).
    """
    return 0.5 * minimax_discriminator(real, fake, where=where)


def minimax_generator(fake: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    r"""Logarithmic loss of the generator as the two-player game prints it.

    $$\ell = \log(1 - \sigma(f)) = -\log(1 + e^{f})$$

    Args:
        fake: logits f of generated images, any shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value <= 0 per score, same shape. Its gradient vanishes where the discriminator is sure
        of a fake, which is why every code uses `nonsaturating_generator`.

    References:
        Goodfellow et al., NIPS 2014, eq. 1, as printed for CycleGAN in seed 002 and for CR-GAN in
        seed 003.
    """
    return keep(-jax.nn.softplus(keep(floats(fake), where)), where)


def minimax_discriminator(
    real: ArrayLike, fake: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""Logarithmic loss of the discriminator as the two-player game prints it.

    $$\ell = -\log \sigma(r) - \log(1 - \sigma(f))$$

    Args:
        real: logits r of real images, any shape.
        fake: logits f of generated images (cut off from the generator's gradient), same shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value >= 0 per score, same shape: binary cross-entropy on real plus on fake.

    Raises:
        ValueError: if the shapes differ.

    References:
        Goodfellow et al., NIPS 2014, eq. 1 with its sign turned (seeds 002, 003); DCGAN, pix2pix.
    """
    real, fake = _scores("minimax_discriminator", real, fake, where)
    return keep(jax.nn.softplus(-real) + jax.nn.softplus(fake), where)


def wasserstein_generator(fake: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    r"""Wasserstein loss of the generator.

    $$\ell = -f$$

    Args:
        fake: the critic's scores f of generated images, any shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value per score, same shape.

    References:
        Arjovsky, Chintala, Bottou, ICML 2017; StarGAN (Choi et al., CVPR 2018, eq. 8; seed 000).
    """
    return keep(-floats(fake), where)


def wasserstein_critic(
    real: ArrayLike, fake: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""Wasserstein loss of the critic, to be used with `gradient_penalty`.

    $$\ell = f - r$$

    Args:
        real: scores r of real images, any shape.
        fake: scores f of generated images (cut off from the generator's gradient), same shape.
        where: booleans over leading axes; other scores get 0 and no gradient.

    Returns:
        One value per score, same shape.

    Raises:
        ValueError: if the shapes differ.

    References:
        Arjovsky, Chintala, Bottou, ICML 2017; StarGAN eq. 8 (seed 000).
    """
    real, fake = _scores("wasserstein_critic", real, fake, where)
    return keep(fake - real, where)


def gradient_penalty(
    critic: Callable[[jax.Array], jax.Array],
    real: ArrayLike,
    fake: ArrayLike,
    key: jax.Array,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Penalty on the slope of a critic between real and generated images.

    $$\ell = \left(\lVert \nabla_{\hat x} \textstyle\sum_p D_p(\hat x) \rVert_2 - 1\right)^2,
    \qquad \hat x = u\,x + (1 - u)\,G(x),\ u \sim U(0, 1) \text{ per sample}$$

    Args:
        critic: maps images `[B, ...]` to scores `[B, ...]`, each sample by itself (no batch norm).
            The SUM over its patches p is differentiated: StarGAN's critic terms take the mean over
            patches, its penalty does not, and with the mean its scale would change by their number.
        real: images `[B, ...]`.
        fake: generated images, same shape.
        key: of the random number u per sample.
        where: booleans `[B]`; other samples get 0 and no gradient.

    Returns:
        One value >= 0 per sample `[B]`, over all pixels and channels; weight 10 in StarGAN. Where
        the slope is exactly 0 the value is 1 and the gradient 0.

    Raises:
        ValueError: if the shapes differ.

    References:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NIPS 2017, eq. 3; StarGAN eq. 8
        and its code (seed 000).
    """
    real, fake = _scores("gradient_penalty", real, fake, where)
    u = jax.random.uniform(key, real.shape[:1], real.dtype)
    u = u.reshape(-1, *(1,) * (real.ndim - 1))
    slope = jax.grad(lambda x: floats(critic(x)).sum())(u * real + (1.0 - u) * fake)
    squared = jnp.square(slope).sum(tuple(range(1, real.ndim)))
    norm = jnp.sqrt(jnp.maximum(squared, 1e-24))  # PyTorch has no clamp, and a NaN gradient at 0
    return keep(jnp.square(norm - 1.0), where)


def feature_matching(
    real_features: ArrayLike | Sequence[ArrayLike],
    fake_features: ArrayLike | Sequence[ArrayLike],
    *,
    reduce: Literal["sum", "mean"] = "sum",
    real_where: ArrayLike | None = None,
    fake_where: ArrayLike | None = None,
) -> jax.Array:
    r"""Feature matching: batch means of a discriminator's features, real against generated.

    $$\ell = \sum_l \operatorname{mean}\left[\left(\bar f_l(x) - \bar f_l(G(x))\right)^2\right]$$

    where the bar is the mean over the batch and the outer mean runs over the positions and channels
    of layer l.

    Args:
        real_features: one array `[B, ...]` per layer, or a single array.
        fake_features: the same layers of generated images; the batch may have another size.
        reduce: 'sum' over layers (DiscoGAN, 3 layers) or 'mean' (GANimorph and UnityGAN, 7 layers).
        real_where: booleans `[B]`; other rows do not enter the batch mean.
        fake_where: booleans over the generated batch, likewise.

    Returns:
        A scalar >= 0: the batch enters by its mean, so there is no value per sample. 0 when one of
        the batches is empty.

    Raises:
        ValueError: if there is no layer, their numbers or shapes differ, or `reduce` is unknown.

    References:
        Salimans et al., "Improved Techniques for Training GANs", NIPS 2016, section 3.1; DiscoGAN's
        and GANimorph's codes, which keep the spatial map; L_FM of UnityGAN (seed 004).
    """
    require_option("reduce", reduce, ("sum", "mean"))
    real, fake = _layers(real_features), _layers(fake_features)
    if (
        not real
        or len(real) != len(fake)
        or any(min(a.ndim, b.ndim) < 1 for a, b in zip(real, fake, strict=True))
        or any(a.shape[1:] != b.shape[1:] for a, b in zip(real, fake, strict=True))
    ):
        shapes = [a.shape for a in real], [a.shape for a in fake]
        raise ValueError(f"feature_matching takes the same layers twice, not {shapes}.")
    present = [
        len(a) > 0 and (w is None or jnp.asarray(w, bool).any())
        for a, w in ((real[0], real_where), (fake[0], fake_where))
    ]
    terms = [
        jnp.square(_batch_mean(a, real_where) - _batch_mean(b, fake_where)).mean()
        for a, b in zip(real, fake, strict=True)
    ]
    total = jnp.stack(terms).sum() if reduce == "sum" else jnp.stack(terms).mean()
    return jnp.where(jnp.logical_and(*present), total, 0.0)


def _scores(
    name: str, real: ArrayLike, fake: ArrayLike, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array]:
    """Both in float32, of one shape, without what `where` hides."""
    real, fake = floats(real), floats(fake)
    require_same(name, real, fake)
    return keep(real, where), keep(fake, where)


def _layers(features: ArrayLike | Sequence[ArrayLike]) -> list[jax.Array]:
    return [floats(f) for f in (features if isinstance(features, Sequence) else [features])]


def _batch_mean(features: jax.Array, where: ArrayLike | None) -> jax.Array:
    flat = features.reshape(len(features), prod(features.shape[1:]))
    return jax.vmap(lambda column: mean(column, where), in_axes=1)(flat)
