"""The renderer: a pure function of (figure, moment, camera, key) to picture, mask and keypoints."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world import infrared
from jaxreid.data.world import moments as m
from jaxreid.data.world.body import Body, Posed, pose_body
from jaxreid.data.world.cameras import Camera, develop
from jaxreid.data.world.obstructions import obstruct
from jaxreid.data.world.people import Person
from jaxreid.data.world.scenes import View, paint, sunlit
from jaxreid.data.world.spec import VISIBLE
from jaxreid.data.world.wardrobe import Figure, dress

_AIM = 8.5  # height of the point that every camera looks at, dm
_FILL = 0.92  # share of the box's height that a well-detected person fills
_NOTHING = np.uint32(0xFFFFFFFF)  # z-buffer value of a pixel that no surfel covers
_GAP = 0.8  # depth step, dm, beyond which a surfel among nearer ones is seen through a pinhole
_DEPTH = 60.0  # half of the depth range of the z-buffer around the person, dm

# How deep under the visible surface a keypoint may lie and still be seen, dm. Joints are inside of
# limbs, hips deepest; whoever points at them on pictures from the front or from behind finds all of
# a torso, and in profile the near half, whose other half lies 2.5 dm and more behind.
_NOSE, _EYE, _EAR, _NECK, _SHOULDER, _HIP = 0.7, 0.7, 1.2, 1.5, 2.0, 2.3
_ARM, _LEG = (_SHOULDER, 1.5, 1.3), (_HIP, 1.8, 1.3)
_BURIED = np.array([_NOSE, _NECK, *_ARM, *_ARM, *_LEG, *_LEG, _EYE, _EYE, _EAR, _EAR], np.float32)


class Picture(NamedTuple):
    """What one camera sees.

    Attributes:
        image: [H, W, 3] float32 in [-1, 1].
        mask: [H, W] float32, 1 where the person is seen.
        keypoints: [18, 3] x and y in pixels, (0, 0) in the middle of the first, and 1 where
            visible, in COCO/OpenPose-18 order.
    """

    image: jax.Array
    mask: jax.Array
    keypoints: jax.Array


class Projection(NamedTuple):
    """The pinhole of one picture: camera position and axes [3], and the box on the image plane."""

    eye: jax.Array
    right: jax.Array
    up: jax.Array
    forward: jax.Array
    centre: jax.Array
    half: jax.Array

    def pixels(self, points: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
        """Pixel coordinates [2, N] (x right, y down) and depth [N] of world points [3, N]."""
        plane, depth = self.plane(points)
        scale = height / 2 / self.half
        x = (plane[0] - self.centre[0]) * scale + width / 2
        y = (self.centre[1] - plane[1]) * scale + height / 2
        return jnp.stack([x, y]), depth

    def plane(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Coordinates on the plane at unit distance [2, N] and depth [N]."""
        away = points - self.eye[:, None]
        depth = self.forward @ away
        return jnp.stack([self.right @ away, self.up @ away]) / depth, depth

    def rays(self, height: int, width: int) -> jax.Array:
        """Directions [H, W, 3] through pixel centres, of unit depth."""
        x = (jnp.arange(width) + 0.5 - width / 2) / (height / 2) * self.half + self.centre[0]
        y = (height / 2 - jnp.arange(height) - 0.5) / (height / 2) * self.half + self.centre[1]
        sideways = self.forward + x[None, :, None] * self.right
        return sideways + y[:, None, None] * self.up


def surfels_for(height: int, width: int) -> int:
    """Number of surfels that keeps a person closed in a picture of this size."""
    return min(max(5 * height * width, 6000), 200_000)


@functools.partial(jax.jit, static_argnames=("height", "width", "modality"))
def render(
    body: Body,
    figure: Figure,
    passer: Person,
    moment: m.Moment,
    camera: Camera,
    key: jax.Array,
    *,
    height: int = 128,
    width: int = 64,
    modality: str = VISIBLE,
) -> Picture:
    """Draws one person (unbatched; ``vmap`` on accelerators, ``jax.lax.map`` on CPUs for many).

    Args:
        body: ``load_body(surfels_for(height, width))``.
        figure: who is seen, ``dress(person, body)``; in infrared, of an unveiled person
            (``infrared.unveil``).
        passer: who walks by when ``moment.obstruction`` is ``PEDESTRIAN``; unveiled alike.
        moment: gait, place, box and exposure.
        camera: who looks.
        key: key of the sensor noise.
        height: rows of the picture.
        width: columns of the picture.
        modality: ``visible``, ``near`` or ``thermal``.

    Returns:
        Picture, exact mask and keypoints.
    """
    scene = jax.tree.map(lambda leaf: leaf[moment.scene], camera.scenes)
    sun = sunlit(scene, moment.place[0], moment.place[1])
    posed, light = _stand(body, figure, moment, camera, sun, modality)
    view = _project(camera, moment, posed.points, figure.shown)
    buffer = _splat(view, posed, figure.shown, (height, width), 0)
    buffer, lights = _add_passer(body, passer, moment, camera, sun, view, buffer, light, modality)
    people, covered, mine = _resolve(buffer, lights)
    rays = view.rays(height, width)
    street = View(
        eye=view.eye,
        rays=rays,
        footprint=2 * view.half / height,
        place=moment.place,
        sun=camera.sun,
        sunlight=camera.sunlight,
        skylight=camera.skylight,
    )
    shadow = _shadow(posed, camera.sun, view.eye, rays)
    if modality != VISIBLE:  # the lamp is beside the lens, and heat casts none
        scene, street = infrared.surroundings(scene, street, modality)
        shadow = jnp.ones_like(shadow)
    background = paint(scene, street, shadow)
    thing, solid = obstruct(moment, street, sun)
    picture = people + (1 - covered)[..., None] * background
    picture = picture + solid[..., None] * (thing - picture)
    mask = ((mine >= 0.5) & (solid < 0.5)).astype(jnp.float32)
    if modality == VISIBLE:
        image = develop(picture, camera, moment.exposure, key)
    else:
        image = infrared.develop(picture, camera, moment.exposure, key, modality)
    return Picture(image, mask, _keypoints(view, posed, buffer, mask, lights.shape[1]))


def _stand(
    body: Body,
    figure: Figure,
    moment: m.Moment,
    camera: Camera,
    sun: jax.Array,
    modality: str = VISIBLE,
) -> tuple[Posed, jax.Array]:
    """Surfels posed on the ground, and the linear light [3, N] that they send."""
    rest, joints, keypoints = figure.rest, figure.joints, figure.keypoints
    posed = pose_body(body, rest, joints, keypoints, m.gait(moment), moment.yaw)
    sole = jnp.min(jnp.where(figure.shown, posed.points[1], jnp.inf))
    drop = jnp.array([0.0, 1.0, 0.0]) * sole
    posed = posed._replace(points=posed.points - drop[:, None], keypoints=posed.keypoints - drop)
    if modality != VISIBLE:
        return posed, infrared.radiate(body, figure, posed, camera, modality)
    x, y, z = posed.normals
    sky = 0.72 + 0.28 * y + 0.16 * figure.folds
    facing = camera.sun[0] * x + camera.sun[1] * y + camera.sun[2] * z
    direct = jnp.maximum(facing + 0.2 * figure.folds, 0) * sun
    light = camera.skylight[:, None] * sky + camera.sunlight[:, None] * direct
    return posed, figure.colour * light


def _add_passer(
    body: Body,
    passer: Person,
    moment: m.Moment,
    camera: Camera,
    sun: jax.Array,
    view: Projection,
    buffer: jax.Array,
    light: jax.Array,
    modality: str,
) -> tuple[jax.Array, jax.Array]:
    """Adds a passer-by, if there is one, as surfels N to 2N; buffer and light [3, 2N] of both."""
    size = buffer.shape[0] // 2, buffer.shape[1] // 2

    def passing(buffer: jax.Array) -> tuple[jax.Array, jax.Array]:
        stranger = dress(passer, body)
        other, glow = _stand(body, stranger, _passing(moment), camera, sun, modality)
        aside, toward = moment.obstruction_at
        away = jnp.stack([1.6 * aside, jnp.zeros(()), toward])
        other = other._replace(points=other.points + away[:, None])
        theirs = _splat(view, other, stranger.shown, size, light.shape[1])
        return jnp.minimum(buffer, theirs), jnp.concatenate([light, glow], axis=1)

    def alone(buffer: jax.Array) -> tuple[jax.Array, jax.Array]:
        return buffer, jnp.concatenate([light, jnp.zeros_like(light)], axis=1)

    return jax.lax.cond(moment.obstruction == m.PEDESTRIAN, passing, alone, buffer)


def _passing(moment: m.Moment) -> m.Moment:
    """How the passer-by walks: out of step and on another course."""
    return moment._replace(phase=moment.phase + 2.0, yaw=moment.yaw + 2.4, stride=jnp.full((), 0.8))


def _project(camera: Camera, moment: m.Moment, points: jax.Array, shown: jax.Array) -> Projection:
    """Aims the camera and fits the detector's box around the person."""
    distance = camera.distance * moment.range
    eye = jnp.stack([jnp.zeros(()), camera.height, distance])
    forward = jnp.stack([jnp.zeros(()), _AIM - camera.height, -distance])
    forward = forward / jnp.linalg.norm(forward)
    right = jnp.array([1.0, 0.0, 0.0])
    view = Projection(eye, right, jnp.cross(right, forward), forward, jnp.zeros(2), jnp.ones(()))
    plane, _ = view.plane(points)
    low = jnp.min(jnp.where(shown, plane, jnp.inf), axis=1)
    high = jnp.max(jnp.where(shown, plane, -jnp.inf), axis=1)
    shift, scale = moment.box[:2] * jnp.array([1.0, -1.0]), jnp.exp(moment.box[2])
    tall = high[1] - low[1]
    centre = (low + high) / 2 + shift * tall
    return view._replace(centre=centre, half=tall / 2 / _FILL * scale)


def _splat(
    view: Projection, posed: Posed, shown: jax.Array, size: tuple[int, int], first: int
) -> jax.Array:
    """Z-buffer at twice the resolution.

    Each entry packs depth (high bits) and surfel number, so one scatter-minimum finds the nearest
    surfel; a surfel covers 2 x 2 entries, which closes the gaps between neighbours.
    """
    height, width = 2 * size[0], 2 * size[1]
    pixels, depth = view.pixels(posed.points, height, width)
    column, row = (jnp.floor(axis - 0.5).astype(jnp.int32) for axis in pixels)
    inside = (column >= -1) & (column < width) & (row >= -1) & (row < height)
    facing = (posed.normals * (view.eye[:, None] - posed.points)).sum(0) > 0
    bits = _index_bits(2 * len(shown))
    far = 2 ** (32 - bits) - 1
    near = (depth - jnp.linalg.norm(view.eye)) / (2 * _DEPTH) + 0.5
    packed = (jnp.clip(near, 0, 1) * (far - 1)).astype(jnp.uint32) << bits
    packed |= (jnp.arange(len(shown)) + first).astype(jnp.uint32)
    cells = (height + 1) * (width + 1)
    cell = jnp.where(inside & facing & shown, (row + 1) * (width + 1) + column + 1, cells)
    empty = jnp.full(cells, _NOTHING, jnp.uint32)
    grid = empty.at[cell].min(packed, mode="drop").reshape(height + 1, width + 1)
    grid = jnp.minimum(grid[1:], grid[:-1])
    return _close(
        jnp.minimum(grid[:, 1:], grid[:, :-1]), jnp.uint32(far * _GAP / (2 * _DEPTH)) << bits
    )


def _close(grid: jax.Array, gap: jax.Array) -> jax.Array:
    """Fills pinholes: entries that lie ``gap`` behind four or more of their eight neighbours."""
    height, width = grid.shape
    for _ in range(2):
        wide = jnp.pad(grid, 1, constant_values=_NOTHING)
        around = [wide[i : i + height, j : j + width] for i in range(3) for j in range(3)]
        nearer = sum((side < grid) & (grid - side > gap) for side in around)
        grid = jnp.where(nearer >= 4, functools.reduce(jnp.minimum, around), grid)
    return grid


def _index_bits(count: int) -> int:
    return max(count - 1, 1).bit_length()


def _resolve(buffer: jax.Array, colours: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Premultiplied light [H, W, 3], and shares covered by anybody and by the person [H, W]."""
    surfels = colours.shape[1]
    hit = buffer != _NOTHING
    index = jnp.where(hit, buffer & (2 ** _index_bits(surfels) - 1), 0).astype(jnp.int32)
    light = jnp.where(hit, colours[:, index], 0)
    mine = hit & (index < surfels // 2)
    layers = jnp.concatenate([light, jnp.stack([hit, mine]).astype(light.dtype)])
    channels, height, width = layers.shape
    small = layers.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4))
    return jnp.moveaxis(small[:3], 0, -1), small[3], small[4]


def _shadow(posed: Posed, sun: jax.Array, eye: jax.Array, rays: jax.Array) -> jax.Array:
    """[H, W, 2] shares of direct and ambient light that the person leaves on the ground."""
    reach = eye[1] / jnp.maximum(-rays[..., 1:2], 1e-3)
    ground = (eye + reach * rays)[..., ::2]
    feet = posed.keypoints[jnp.array([10, 13])][:, ::2]
    near = [jnp.exp(-(((ground - foot) / 1.5) ** 2).sum(-1)) for foot in feet]
    wide = jnp.exp(-(((ground - feet.mean(0)) / 5.0) ** 2).sum(-1))
    ambient = 1 - 0.4 * jnp.clip(near[0] + near[1], 0, 1) - 0.25 * wide
    flat = jnp.maximum(jnp.linalg.norm(sun[::2]), 1e-3)
    away, length = -sun[::2] / flat, 17.0 * flat / jnp.maximum(sun[1], 0.1)
    offset = ground - feet.mean(0)
    along = offset @ away
    beside = jnp.abs(offset @ jnp.array([[0.0, -1.0], [1.0, 0.0]]) @ away)
    girth = 1.1 + 1.2 * jnp.sin(jnp.pi * jnp.clip(along / length, 0, 1))
    inside = (along > -0.5) * jax.nn.sigmoid((length - along) / 0.6)
    direct = 1 - 0.9 * inside * jax.nn.sigmoid((girth - beside) / 0.25)
    return jnp.stack([direct, ambient], -1)


def _keypoints(
    view: Projection, posed: Posed, buffer: jax.Array, mask: jax.Array, surfels: int
) -> jax.Array:
    """[18, 3]: a keypoint is visible when the surface in front of it is its own body part's."""
    height, width = mask.shape
    pixels, depth = view.pixels(posed.keypoints.T, height, width)
    column, row = jnp.floor(pixels).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = jnp.clip(column, 0, width - 1), jnp.clip(row, 0, height - 1)
    levels = 2 ** (32 - _index_bits(surfels)) - 2
    surface = (buffer[2 * row, 2 * column] >> _index_bits(surfels)).astype(jnp.float32) / levels
    gap = depth - jnp.linalg.norm(view.eye) - (surface - 0.5) * 2 * _DEPTH
    seen = inside & (mask[row, column] > 0) & (gap < jnp.asarray(_BURIED))
    return jnp.stack([*(pixels - 0.5), seen.astype(jnp.float32)], axis=1)
