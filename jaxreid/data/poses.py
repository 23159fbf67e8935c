"""Pose pictures on the device: drawings and heat maps of 18 keypoints, pure functions of arrays.

Keypoints are ``[..., 18, 3]``: x and y in pixels of the picture, (0, 0) in the middle of its first
pixel, and a third number above 0 where the joint is visible, in the order of COCO/OpenPose-18.
"""

import jax
import jax.numpy as jnp
import numpy as np

JOINTS = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist"),
    *("left shoulder", "left elbow", "left wrist", "right hip", "right knee", "right ankle"),
    *("left hip", "left knee", "left ankle", "right eye", "left eye", "right ear", "left ear"),
)
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11)),
    *((11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
# A joint and the limb of its number share a colour. OpenPose lists these as RGB and hands them to
# OpenCV, which takes BGR: its picture files hold the reversed triples, and so does this table.
COLOURS = (
    *((0, 0, 255), (0, 85, 255), (0, 170, 255), (0, 255, 255), (0, 255, 170), (0, 255, 85)),
    *((0, 255, 0), (85, 255, 0), (170, 255, 0), (255, 255, 0), (255, 170, 0), (255, 85, 0)),
    *((255, 0, 0), (255, 0, 85), (255, 0, 170), (255, 0, 255), (170, 0, 255), (85, 0, 255)),
)
MIRRORED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
THICKNESS = 4 / 256  # radius of a disc and half the width of a limb, in heights of the picture
OPACITY = 0.5  # of limbs
SIGMA = 6 / 128  # of heat maps, in heights of the picture
ROUNDING = 1e-4  # pixels; the ends of a limb lie on its outline, and belong to it


def draw(keypoints: jax.Array, size: tuple[int, int], *, antialiased: bool = False) -> jax.Array:
    """Draws skeletons as PN-GAN's pose images show them.

    A disc for every visible joint, then a filled ellipse for every limb whose two ends are visible,
    one after another, each half transparent over what is there. Nothing is truncated to whole
    pixels, as OpenPose does with ends, lengths and angles.

    Args:
        keypoints: ``[..., 18, 3]``, in pixels of a picture of ``size``.
        size: (height, width); the thickness of lines follows the height.
        antialiased: pixels on an outline are blended by how much of them it covers; otherwise a
            pixel is drawn where its middle is inside.

    Returns:
        float32 ``[..., H, W, 3]`` in [-1, 1], -1 (black) where nothing is drawn.

    References:
        Qian et al., "Pose-Normalized Image Generation for Person Re-identification", ECCV 2018;
        colours and opacity are measured on its figures, shapes and order are OpenPose's.
    """
    keypoints = jnp.asarray(keypoints, jnp.float32)
    keypoints = jnp.where(keypoints[..., 2:] > 0, keypoints, 0.0)  # nan is usual for unseen joints
    y, x = jnp.arange(size[0], dtype=jnp.float32)[:, None], jnp.arange(size[1], dtype=jnp.float32)

    def add(under: jax.Array, shape: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        ends, colour, opacity, shortest = shape
        a, b = jnp.moveaxis(jnp.take(keypoints, ends, axis=-2), -2, 0)
        outside = _outside_ellipse(a, b, x, y, shortest, THICKNESS * size[0])
        covered = jnp.clip(0.5 - outside, 0.0, 1.0) if antialiased else outside <= ROUNDING
        shown = (a[..., 2] > 0) & (b[..., 2] > 0)
        share = opacity * shown[..., None, None] * covered
        return under + share[..., None] * (colour - under), None

    black = jnp.full((*keypoints.shape[:-2], *size, 3), -1.0)
    return jax.lax.scan(add, black, _shapes(THICKNESS * size[0]))[0]


def heat_maps(keypoints: jax.Array, size: tuple[int, int]) -> jax.Array:
    r"""One map per joint, brightest where it is.

    $$h_j(x) = \exp\left(-\frac{\lVert x - k_j \rVert^2}{2 \sigma^2}\right)$$

    Args:
        keypoints: ``[..., 18, 3]``, in pixels of a picture of ``size``.
        size: (height, width); sigma is 6 pixels at a height of 128 and follows the height.

    Returns:
        float32 ``[..., H, W, 18]`` in [0, 1]; 0 for joints that are not visible.

    References:
        Zhu et al., "Progressive Pose Attention Transfer for Person Image Generation", CVPR 2019
        (Pose-Transfer), as in its code.
    """
    keypoints = jnp.asarray(keypoints, jnp.float32)[..., None, None, :, :]
    y, x = jnp.mgrid[: size[0], : size[1]].astype(jnp.float32)[..., None]
    squares = (x - keypoints[..., 0]) ** 2 + (y - keypoints[..., 1]) ** 2
    near = jnp.exp(-squares / (2 * (SIGMA * size[0]) ** 2))
    return jnp.where(keypoints[..., 2] > 0, near, 0.0)


def flip(keypoints: jax.Array, width: int) -> jax.Array:
    """Keypoints ``[..., 18, 3]`` of the mirrored picture: left and right joints change places."""
    mirrored = jnp.asarray(keypoints)[..., np.array(MIRRORED), :]
    return mirrored.at[..., 0].set(width - 1 - mirrored[..., 0])


def _shapes(thickness: float) -> tuple[jax.Array, ...]:
    """Ends, colours, opacities and least half lengths of all shapes: a disc is a short limb.

    A limb that points at the camera is half a pixel long, so that nothing is divided by zero.
    """
    joints, limbs = len(JOINTS), len(LIMBS)
    ends = jnp.array([*((joint, joint) for joint in range(joints)), *LIMBS])
    colours = jnp.array([*COLOURS, *COLOURS[:limbs]], jnp.float32) / 127.5 - 1.0
    opacity = jnp.repeat(jnp.array([1.0, OPACITY]), np.array([joints, limbs]))
    shortest = jnp.repeat(jnp.array([thickness, 0.5]), np.array([joints, limbs]))
    return ends, colours, opacity, shortest


def _outside_ellipse(
    a: jax.Array, b: jax.Array, x: jax.Array, y: jax.Array, shortest: jax.Array, thickness: float
) -> jax.Array:
    """How far pixels lie outside the ellipse around a limb from ``a`` to ``b``.

    Zero on its outline, negative inside; elsewhere the distance to first order.
    """
    middle, along = (a + b)[..., None, None] / 2, (b - a)[..., None, None] / 2
    half = jnp.hypot(along[..., 0, :, :], along[..., 1, :, :])
    angle = jnp.arctan2(along[..., 1, :, :], along[..., 0, :, :])
    cos, sin, half = jnp.cos(angle), jnp.sin(angle), jnp.maximum(half, shortest)
    dx, dy = x - middle[..., 0, :, :], y - middle[..., 1, :, :]
    u, v = (dx * cos + dy * sin) / half, (dy * cos - dx * sin) / thickness
    radius, slope = jnp.hypot(u, v), jnp.hypot(u / half, v / thickness)
    return (radius - 1.0) * jnp.where(slope > 0, radius / slope, thickness)
