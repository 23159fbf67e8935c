"""Things between the camera and the person: a post, a bin, a parked bicycle."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world import moments as m
from jaxreid.data.world.scenes import View

# Tubes of a bicycle, x and y of both ends, dm.
_FRAME = (
    (-5.2, 3.4, -2.0, 8.0), (-2.0, 8.0, 3.6, 8.0), (0.4, 3.2, -2.0, 8.0),
    (0.4, 3.2, 3.6, 8.0), (5.2, 3.4, 3.4, 10.0), (-3.0, 9.0, -1.4, 9.0),
)  # fmt: skip


# Linear colours of the things, by ``Moment.obstruction``; people are drawn by the renderer.
_COLOURS = np.zeros((5, 3), np.float32)
_COLOURS[m.POST] = (0.25, 0.26, 0.27)
_COLOURS[m.BIN] = (0.05, 0.09, 0.06)
_COLOURS[m.BICYCLE] = 0.04


def obstruct(moment: m.Moment, view: View, sun: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws what stands in the way on a plane that faces the camera.

    Args:
        moment: says what it is and where it stands.
        view: viewpoint and light.
        sun: share of direct sun at the person's place.

    Returns:
        Light [H, W, 3] and opacity [H, W].
    """
    aside, toward = moment.obstruction_at
    reach = (toward - view.eye[2]) / view.rays[..., 2]
    x = view.eye[0] + reach * view.rays[..., 0] - aside
    y = view.eye[1] + reach * view.rays[..., 1]
    tubes = [_segment(x, y, *ends) - 0.22 for ends in _FRAME]
    wheels = jnp.abs(jnp.hypot(jnp.abs(x) - 5.2, y - 3.4) - 3.2) - 0.22
    nothing = jnp.full_like(x, 1e3)
    outside = {  # distance to the outline, negative inside
        m.POST: jnp.abs(x) - 0.65,
        m.BIN: jnp.maximum(jnp.abs(x) - 2.6, y - 8.5),
        m.BICYCLE: functools.reduce(jnp.minimum, tubes, wheels),
    }
    distance = jnp.stack([outside.get(thing, nothing) for thing in range(len(_COLOURS))])
    pixel = jnp.maximum(view.footprint * reach, 1e-3)
    opacity = jnp.clip(0.5 - distance[moment.obstruction] / pixel, 0, 1)
    light = 0.8 * view.skylight + 0.5 * sun * view.sunlight
    roundness = 1 - 0.5 * jnp.clip(jnp.abs(x) / 2.6, 0, 1) ** 2
    return roundness[..., None] * (jnp.asarray(_COLOURS)[moment.obstruction] * light), opacity


def _segment(x: jax.Array, y: jax.Array, x0: float, y0: float, x1: float, y1: float) -> jax.Array:
    """Distance of points to a line segment."""
    dx, dy = x1 - x0, y1 - y0
    at = jnp.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    return jnp.hypot(x - x0 - at * dx, y - y0 - at * dy)
