"""Streets: a ground with a kerb, a row of things along it and a wall behind, ray-cast per pixel.

Every picture of a scene looks at the same street from another spot, so backgrounds of one camera
differ from picture to picture and still belong together. Units are decimetres.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world.dice import Dice

# What stands along the street.
NOTHING, CARS, FENCE, TRUNKS, BOLLARDS = range(5)
# sRGB colours per city: pavements, what lies beyond the kerb, walls.
_PAVING = np.array([
    [(132, 130, 128), (112, 112, 114), (150, 140, 126), (96, 98, 102), (140, 112, 100)],
    [(176, 164, 146), (190, 184, 172), (160, 150, 138), (170, 134, 112), (146, 144, 140)],
]) / 255  # fmt: skip
_BEYOND = np.array([
    [(78, 80, 84), (92, 92, 94), (84, 104, 58), (100, 116, 70), (118, 114, 110)],
    [(104, 104, 106), (118, 132, 70), (150, 142, 126), (132, 124, 108), (92, 92, 96)],
]) / 255  # fmt: skip
_WALLS = np.array([
    [(126, 74, 60), (150, 146, 138), (96, 92, 90), (168, 156, 132), (64, 82, 52), (56, 62, 70)],
    [(214, 200, 172), (204, 168, 128), (226, 222, 212), (172, 148, 124), (88, 112, 60), (150, 96, 76)],  # noqa: E501
]) / 255  # fmt: skip
_SIGNS = (
    np.array([(170, 40, 40), (40, 80, 140), (40, 110, 70), (200, 170, 60), (230, 230, 226)]) / 255
)
_PAINT = (
    np.array([(200, 200, 202), (40, 42, 46), (120, 124, 130), (120, 34, 34), (44, 62, 96)]) / 255
)
_HEDGE = 4  # the wall colour that is foliage


class Scene(NamedTuple):
    """One street; scalars unless a shape is given, colours are linear RGB.

    Attributes:
        heading: turn of the street against the picture plane, radians.
        ground: [2, 3] colours of the pavement and of what lies beyond the kerb.
        tile: [2] size of their tiles, dm.
        joint: [2] how much darker joints are, 0 to 1.
        mottle: [2] contrast of their blotches and speckles.
        kerb: distance of the kerb behind the middle of the path, dm.
        line: 1 where a painted line follows the kerb.
        row: int32, ``NOTHING`` ... ``BOLLARDS``, stands just beyond the kerb.
        wall: distance of the wall, dm.
        wall_colour: [3].
        hedge: 1 where the wall is a hedge.
        bay: [4] spacing, width, sill and lintel of doors and windows, dm.
        bay_colour: [3].
        sign_colour: [3] of the shop sign.
        sign: height of the shop sign above the ground, dm.
        shade: [2] place of the border of a building's shadow, and which side (-1, 1) is dark.
        salt: uint32 that makes the scene's random detail its own.
    """

    heading: jax.Array
    ground: jax.Array
    tile: jax.Array
    joint: jax.Array
    mottle: jax.Array
    kerb: jax.Array
    line: jax.Array
    row: jax.Array
    wall: jax.Array
    wall_colour: jax.Array
    hedge: jax.Array
    bay: jax.Array
    bay_colour: jax.Array
    sign_colour: jax.Array
    sign: jax.Array
    shade: jax.Array
    salt: jax.Array


def sample_scene(key: jax.Array, heading: jax.Array, *, city: int = 0) -> Scene:
    """Draws one street of a city for a camera that looks at it under ``heading`` or nearly so."""
    own, detail = jax.random.split(key)
    dice, style = Dice(own, 40), min(city, 1)
    between = dice.between

    def colour(table: np.ndarray) -> tuple[jax.Array, jax.Array]:
        pick = dice.pick(np.ones(len(table)))
        shade = 1 + 0.1 * dice.normal()
        return jnp.clip(jnp.asarray(table, jnp.float32)[pick] * shade, 0.03, 0.9) ** 2.2, pick

    paving, beyond = colour(_PAVING[style])[0], colour(_BEYOND[style])[0]
    wall, wall_pick = colour(_WALLS[style])
    bays = [between(22.0, 50.0), between(9.0, 18.0), between(0.2, 9.0), between(20.0, 26.0)]
    return Scene(
        heading=heading + between(-0.15, 0.15),
        ground=jnp.stack([paving, beyond]),
        tile=jnp.stack([between(2.5, 9.0), between(8.0, 40.0)]),
        joint=jnp.stack([between(0.0, 0.35), between(0.0, 0.1)]),
        mottle=between(0.08, 0.3, 2),
        kerb=between(10.0, 45.0),
        line=dice.chance(0.3).astype(jnp.float32),
        row=dice.pick([0.3, 0.25, 0.15, 0.2, 0.1]),
        wall=between(30.0, 110.0),
        wall_colour=wall,
        hedge=(wall_pick == _HEDGE).astype(jnp.float32),
        bay=jnp.stack(bays),
        bay_colour=between(0.01, 0.1) * jnp.array([0.8, 0.95, 1.1]),
        sign_colour=colour(_SIGNS)[0],
        sign=between(26.0, 40.0),
        shade=jnp.stack([between(-25.0, 25.0), jnp.where(dice.chance(0.5), 1.0, -1.0)]),
        salt=jax.random.bits(detail, (), jnp.uint32),
    )


class View(NamedTuple):
    """What the ray-caster needs to know about light and viewpoint.

    Attributes:
        eye: [3] camera position; the person stands at the origin.
        rays: [H, W, 3] directions through the pixel centres.
        footprint: width of a pixel at unit ray length.
        place: [2] where the person stands in the scene.
        sun: [3] direction, ``sunlight`` and ``skylight`` [3] colours.
    """

    eye: jax.Array
    rays: jax.Array
    footprint: jax.Array
    place: jax.Array
    sun: jax.Array
    sunlight: jax.Array
    skylight: jax.Array


def sunlit(scene: Scene, along: jax.Array, across: jax.Array) -> jax.Array:
    """Share of direct sun, 0.1 to 1, at points of the street."""
    border = scene.shade[0] + 0.25 * along
    dark = jax.nn.sigmoid(scene.shade[1] * (across - border) / 0.4)
    return 1 - 0.9 * dark


def paint(scene: Scene, view: View, shadow: jax.Array) -> jax.Array:
    """Ray-casts the street.

    Args:
        scene: one scene.
        view: viewpoint and light.
        shadow: [H, W, 2] how much direct and ambient light the ground keeps under the person.

    Returns:
        Linear light [H, W, 3].
    """
    cosine, sine = jnp.cos(scene.heading), jnp.sin(scene.heading)

    def into_street(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, z = vector[..., 0], vector[..., 2]
        return cosine * x + sine * z, cosine * z - sine * x

    (eye_x, eye_z), (ray_x, ray_z) = into_street(view.eye), into_street(view.rays)
    eye_x, eye_z = eye_x + view.place[0], eye_z + view.place[1]
    ray_y = view.rays[..., 1]

    def hit(distance: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return eye_x + distance * ray_x, view.eye[1] + distance * ray_y, eye_z + distance * ray_z

    to_ground = view.eye[1] / jnp.maximum(-ray_y, 1e-3)
    to_wall = _reach(eye_z + scene.wall, -ray_z)
    to_row = _reach(eye_z + scene.kerb + 8.0, -ray_z)
    x, _, z = hit(to_ground)
    sun = sunlit(scene, x, z) * jnp.maximum(view.sun[1], 0)
    light = view.skylight * shadow[..., 1:] + view.sunlight * (sun * shadow[..., 0])[..., None]
    picture = _ground(scene, x, z, to_ground * view.footprint) * light
    facing = jnp.maximum(into_street(view.sun)[1], 0)
    upright = 0.75 * view.skylight + view.sunlight * facing
    x, y, _ = hit(to_wall)
    wall = _wall(scene, x, y, to_wall * view.footprint) * upright
    picture = jnp.where((to_wall < to_ground)[..., None], wall, picture)
    x, y, _ = hit(to_row)
    thing, solid = _row(scene, x, y)
    solid = solid * (to_row < jnp.minimum(to_ground, to_wall))
    return picture + solid[..., None] * (thing * upright - picture)


def reach(scene: Scene, view: View) -> jax.Array:
    """Ray lengths [H, W] to the ground or the wall, whichever is nearer."""
    cosine, sine = jnp.cos(scene.heading), jnp.sin(scene.heading)
    eye_z, ray_z = (cosine * v[..., 2] - sine * v[..., 0] for v in (view.eye, view.rays))
    to_ground = view.eye[1] / jnp.maximum(-view.rays[..., 1], 1e-3)
    return jnp.minimum(to_ground, _reach(eye_z + view.place[1] + scene.wall, -ray_z))


def _reach(gap: jax.Array, speed: jax.Array) -> jax.Array:
    """Ray length to a plane ``gap`` away; far when the ray runs along it or away from it."""
    return jnp.where(speed > 1e-3, gap / jnp.maximum(speed, 1e-3), 1e5)


def _ground(scene: Scene, x: jax.Array, z: jax.Array, footprint: jax.Array) -> jax.Array:
    beyond = (z < -scene.kerb).astype(jnp.float32)
    pick = lambda pair: pair[0] + beyond * (pair[1] - pair[0])  # noqa: E731
    tile = pick(scene.tile)
    fade = jnp.clip(tile / (4 * footprint), 0, 1)
    joints = jnp.maximum(_line(x / tile, footprint / tile), _line(z / tile, footprint / tile))
    own = _hash(jnp.floor(x / tile), jnp.floor(z / tile), scene.salt) - 0.5
    blotch = _noise(x / 9.0, z / 9.0, scene.salt) - 0.5
    fine = _hash(jnp.floor(x * 3), jnp.floor(z * 3), scene.salt) - 0.5
    texture = 1.6 * blotch + fine * jnp.clip(0.4 / footprint, 0, 1) + 0.4 * own * fade
    shade = (1 + pick(scene.mottle) * texture) * (1 - pick(scene.joint) * joints * fade)
    base = scene.ground[0] + beyond[..., None] * (scene.ground[1] - scene.ground[0])
    kerb = _band(z + scene.kerb, 1.2)[..., None]
    paint_line = scene.line * _band(z + scene.kerb + 6.0, 0.8)[..., None]
    base = base + 0.5 * kerb * (0.4 - base) + 0.8 * paint_line * (0.6 - base)
    return base * jnp.maximum(shade, 0.2)[..., None]


def _wall(scene: Scene, x: jax.Array, y: jax.Array, footprint: jax.Array) -> jax.Array:
    spacing, width, sill, lintel = scene.bay
    rough = _noise(x / 2.5, y / 2.5, scene.salt) - 0.5
    coarse = _noise(x / 8.0, y / 8.0, scene.salt + 1) - 0.5
    courses = _line(y / 1.5, footprint / 1.5) * jnp.clip(0.4 / footprint, 0, 1)
    plain = 1 + 0.2 * coarse + 0.1 * rough - 0.12 * courses
    leaves = 1 + 1.1 * rough + 0.9 * coarse
    colour = scene.wall_colour * (plain + scene.hedge * (leaves - plain))[..., None]
    colour = colour * jnp.where(y < 4.0, 0.7, 1.0)[..., None]
    cell = jnp.floor(x / spacing)
    inside = _band(x - (cell + 0.5) * spacing, width) * (y > sill) * (y < lintel)
    dress = _hash(cell, jnp.floor(y / 9.0), scene.salt)[..., None]
    glass = scene.bay_colour * (0.5 + y[..., None] / 12.0) + 0.12 * jnp.maximum(dress - 0.5, 0)
    frame = _band(x - (cell + 0.5) * spacing, width + 1.6) * (y > sill - 0.8) * (y < lintel + 0.8)
    masonry = (1 - scene.hedge) * jnp.stack([frame, inside])[..., None]
    colour = colour + masonry[0] * (0.6 * scene.wall_colour + 0.08 - colour)
    colour = colour + masonry[1] * (glass - colour)
    sign = (1 - scene.hedge) * _band(y - scene.sign, 5.0)[..., None]
    return jnp.maximum(colour + sign * (scene.sign_colour - colour), 0.004)


def _row(scene: Scene, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Colour [H, W, 3] and solidity [H, W] of what stands along the kerb."""
    spacing = jnp.array([1.0, 52.0, 3.0, 36.0, 18.0])[scene.row]
    cell = jnp.floor(x / spacing)
    at = x - (cell + 0.5) * spacing
    own = _hash(cell, cell, scene.salt)
    roof = 7.5 + 6.5 * jax.nn.sigmoid((13.0 - jnp.abs(at + 2.0)) * 1.2)
    wheel = jnp.hypot(jnp.abs(at) - 13.0, y - 3.0) < 3.2
    car = (jnp.abs(at) < 21.0) * (y < roof) * ((y > 2.0) | wheel) * (own < 0.7)
    window = (y > 8.6) & (y < 12.8) & (jnp.abs(at + 2.0) < 12.0)
    painted = jnp.asarray(_PAINT, jnp.float32)[(own * 7).astype(jnp.int32) % len(_PAINT)] ** 2.2
    body = jnp.where((window | wheel | (y < 3.0))[..., None], 0.012, painted)
    rails = ((jnp.abs(at) < 0.25) | (_band(y - 9.5, 0.6) > 0)) * (y < 10.0)
    trunk = (jnp.abs(at + 6 * (own - 0.5)) < 1.8) * 1.0
    bark = (
        jnp.array([0.07, 0.055, 0.04])
        * (0.7 + 0.6 * _noise(x * 1.5, y / 3.0, scene.salt))[..., None]
    )
    bollard = (jnp.abs(at) < 0.7) * (y < 9.0)
    iron = jnp.broadcast_to(jnp.array([0.03, 0.035, 0.035]), body.shape)
    solid = jnp.stack([0.0 * x, car * 1.0, rails * 1.0, trunk, bollard * 1.0])[scene.row]
    return jnp.stack([iron, body, iron, bark, iron])[scene.row], solid


def _line(x: jax.Array, width: jax.Array) -> jax.Array:
    """1 on a unit grid's lines, ``width`` wide at least 0.03 and softened."""
    near = jnp.abs(x - jnp.round(x))
    wide = jnp.maximum(width, 0.03)
    return jnp.clip(1 - near / wide, 0, 1)


def _band(x: jax.Array, width: jax.Array | float) -> jax.Array:
    return (jnp.abs(x) < width / 2).astype(jnp.float32)


def _hash(i: jax.Array, j: jax.Array, salt: jax.Array) -> jax.Array:
    """Uniform pseudo-random numbers in [0, 1) on an integer lattice."""
    mixed = i.astype(jnp.int32).astype(jnp.uint32) * jnp.uint32(0x9E3779B1)
    mixed ^= j.astype(jnp.int32).astype(jnp.uint32) * jnp.uint32(0x85EBCA77) ^ salt
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(0x2C1B3C6D)
    mixed = (mixed ^ (mixed >> 12)) * jnp.uint32(0x297A2D39)
    return ((mixed ^ (mixed >> 15)) >> 8).astype(jnp.float32) * (1 / (1 << 24))


def _noise(x: jax.Array, y: jax.Array, salt: jax.Array) -> jax.Array:
    """Smooth value noise in [0, 1) with unit lattice."""
    i, j = jnp.floor(x), jnp.floor(y)
    u, v = (w * w * (3 - 2 * w) for w in (x - i, y - j))
    low = _hash(i, j, salt) * (1 - u) + _hash(i + 1, j, salt) * u
    high = _hash(i, j + 1, salt) * (1 - u) + _hash(i + 1, j + 1, salt) * u
    return low * (1 - v) + high * v
