"""The pictures of the page on losses: each is drawn by the loss that it shows."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid import losses
from jaxreid.report.charts import line_chart

Series = dict[str, tuple[np.ndarray, np.ndarray]]


def draw(name: str) -> str:
    """The chart as `<svg>` on one line, so that Markdown leaves it alone."""
    svg = {"adversarial": _adversarial, "smoothing": _smoothing, "hinge": _hinge, "sln": _sln}[name]
    return " ".join(svg().split())


def _curve(x: np.ndarray, loss) -> tuple[np.ndarray, np.ndarray]:
    return x, np.asarray(loss(jnp.asarray(x)))


def _adversarial() -> str:
    x = np.linspace(-2, 3, 101)
    series = {
        "minimax": _curve(x, losses.minimax_generator),
        "nonsaturating": _curve(x, losses.nonsaturating_generator),
        "lsgan": _curve(x, losses.lsgan_generator),
        "wasserstein": _curve(x, losses.wasserstein_generator),
    }
    return line_chart(series, "What a generator loses", "score of a generated image", "loss")


def _smoothing() -> str:
    x = np.linspace(-2, 10, 121)

    def loss(margin: jax.Array, epsilon: float) -> jax.Array:
        logits = jnp.stack([margin, *[jnp.zeros_like(margin)] * 9], axis=-1)
        labels = jnp.zeros(margin.shape, int)
        return losses.cross_entropy(logits, losses.smooth_labels(labels, 10, epsilon))

    series: Series = {
        f"epsilon {e:g}": _curve(x, lambda m, e=e: loss(m, e)) for e in (0.0, 0.1, 0.3, 1.0)
    }
    title = "Cross-entropy of ten classes with smoothed labels"
    return line_chart(series, title, "lead of the true class's logit", "loss")


def _hinge() -> str:
    x = np.linspace(0, 2, 101)

    def loss(negative: jax.Array, margin: float | str) -> jax.Array:
        # An anchor at 0, its positive at 1 and a negative at the given distance.
        points = jnp.stack([jnp.zeros(()), jnp.ones(()), -negative])[:, None]
        return losses.triplet(points, jnp.array([0, 0, 1]), margin=margin)[0]

    series: Series = {
        f"margin {m}": _curve(x, jax.vmap(lambda d, m=m: loss(d, m))) for m in (0.3, 1.0, "soft")
    }
    title = "Triplet loss of an anchor whose positive is at distance 1"
    return line_chart(series, title, "distance of the nearest negative", "loss")


def _sln() -> str:
    state, normalised = losses.loss_scale(), []
    steps = np.arange(600)
    raw = 5 * np.exp(-steps / 150) + 0.5
    step = jax.jit(losses.scheduled_normalization, static_argnames="beta")
    for i, value in enumerate(raw):
        value, state = step(value, state, update=i % 50 == 0, beta=0.99)
        normalised.append(float(value))
    series: Series = {"loss": (steps, raw), "normalised": (steps, np.array(normalised))}
    title = "Scheduled normalisation, updated every 50 steps"
    return line_chart(series, title, "step", "loss")
