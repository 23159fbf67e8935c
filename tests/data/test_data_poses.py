"""Drawn skeletons: published values, a slow oracle pixel by pixel, mirrored poses."""

import math

import jax
import numpy as np
import pytest

from jaxreid.data import poses

RIGHT_ARM, LEFT_ARM = (2, 3, 4), (5, 6, 7)


def keypoints(**places):
    """Keypoints of which only the given joints are visible; ``j1=(x, y)`` is the neck."""
    found = np.zeros((18, 3), np.float32)
    for joint, (x, y) in places.items():
        found[int(joint[1:])] = x, y, 1
    return found


def drawn(points, size=(256, 128), **options):
    """A drawing in 0 to 255."""
    return (np.asarray(poses.draw(points, size, **options)) + 1) * 127.5


def oracle(points, size, discs=poses.COLOURS, limbs=poses.COLOURS):
    """One pixel at a time, as the rules read: discs, then limbs in order, half transparent."""
    thick, canvas = 4 * size[0] / 256, np.zeros((*size, 3))
    points = points.tolist()
    for (px, py, seen), colour in zip(points, discs, strict=True):
        for y, x in np.ndindex(*size):
            if seen and (x - px) ** 2 + (y - py) ** 2 <= thick**2:
                canvas[y, x] = colour
    for (a, b), colour in zip(poses.LIMBS, limbs, strict=False):
        (ax, ay, seen_a), (bx, by, seen_b) = points[a], points[b]
        half = max(math.hypot(bx - ax, by - ay) / 2, 0.5)
        c, s = math.cos(t := math.atan2(by - ay, bx - ax)), math.sin(t)
        for y, x in np.ndindex(*size):
            dx, dy = x - (ax + bx) / 2, y - (ay + by) / 2
            u, v = (dx * c + dy * s) / half, (dy * c - dx * s) / thick
            if seen_a and seen_b and u * u + v * v <= 1 + 1e-6:
                canvas[y, x] = 0.5 * canvas[y, x] + 0.5 * np.array(colour)
    return canvas


@pytest.fixture(scope="module")
def crowd():
    """Random people, some joints hidden; the last is nobody."""
    rng = np.random.default_rng(0)
    points = rng.uniform((-3, -3, 0), (35, 67, 1), (4, 18, 3)).astype(np.float32)
    points[..., 2] = points[..., 2] > 0.3
    points[1, 3, :2] = points[1, 2, :2]  # a limb that points at the camera
    points[3, :, 2] = 0
    return points


def test_published_values(proof):
    picture = drawn(keypoints(j1=(64, 60), j2=(44, 60)))
    expected = {54: (0, 0, 127.5), 67: (0, 85, 255), 41: (0, 170, 255), 62: (0, 42.5, 255)}
    error = max(np.abs(picture[60, x] - colour).max() for x, colour in expected.items())
    proof("pose drawing: neck and shoulder", "golden values", error, 1e-4)
    y, x = np.mgrid[:256, :128]
    near = (np.hypot(x - 64, y - 60) <= 4) | (np.hypot(x - 44, y - 60) <= 4)
    near |= ((x - 54) / 10) ** 2 + ((y - 60) / 4) ** 2 <= 1
    assert (picture[~near] == 0).all() and (picture[near].max(-1) > 100).all()
    hips = drawn(keypoints(j1=(64, 60), j8=(64, 120), j11=(64, 120)))  # limbs 6 and 9
    assert np.abs(hips[90, 64] - (127.5, 191.25, 0)).max() < 1e-4


def test_one_joint_is_a_disc_and_none_is_black():
    nose = drawn(keypoints(j0=(64, 30)))
    assert {tuple(colour) for colour in nose.reshape(-1, 3)} == {(0, 0, 0), (0, 0, 255)}
    assert (nose[..., 2] > 0).sum() == 49  # pixels in a disc of radius 4
    assert (np.asarray(poses.draw(keypoints(), (256, 128))) == -1).all()


def test_drawing_is_the_rules_pixel_by_pixel(crowd, proof):
    pictures = drawn(crowd, (64, 32))
    error = max(
        np.abs(picture - oracle(points, (64, 32))).max()
        for picture, points in zip(pictures, crowd, strict=True)
    )
    proof("pose drawing", "one pixel at a time", error, 1e-3)


def test_batches_jit_and_vmap_agree(crowd):
    whole = poses.draw(crowd, (64, 32))
    each = jax.jit(jax.vmap(lambda points: poses.draw(points, (64, 32))))(crowd)
    np.testing.assert_allclose(whole, each, atol=1e-6)
    nested = poses.draw(crowd.reshape(2, 2, 18, 3), (64, 32))
    np.testing.assert_array_equal(nested.reshape(whole.shape), whole)


def test_smooth_outlines_are_the_averages_of_finer_drawings(crowd):
    fine = crowd.copy()
    fine[..., :2] = 8 * crowd[..., :2] + 3.5  # the middle of the first of 8 x 8 pixels
    averages = drawn(fine, (512, 256)).reshape(4, 64, 8, 32, 8, 3).mean((2, 4))
    smooth, hard = drawn(crowd, (64, 32), antialiased=True), drawn(crowd, (64, 32))
    errors = [np.abs(picture - averages).mean() for picture in (smooth, hard)]
    assert errors[0] < 0.4 * errors[1]
    assert np.abs(smooth - averages).max() < 64
    assert (smooth[3] == 0).all()


@pytest.mark.parametrize("smooth", [False, True])
def test_where_unseen_joints_are_does_not_matter(crowd, smooth):
    hidden = np.array(crowd)
    hidden[:, [4, 7, 9], 2] = 0
    lost = hidden.copy()
    lost[:, 4, :2], lost[:, 7, :2], lost[:, 9, :2] = np.nan, np.inf, -1e30
    made = [drawn(each, (64, 32), antialiased=smooth) for each in (hidden, lost)]
    np.testing.assert_array_equal(*made)


def test_flipping_mirrors_and_exchanges_left_and_right(crowd):
    arms = keypoints(j2=(8, 20), j3=(5, 30), j4=(3, 42), j5=(22, 21), j6=(26, 31), j7=(29, 40))
    swapped = np.array(poses.COLOURS)
    discs, limbs = swapped[list(poses.MIRRORED)], swapped.copy()
    limbs[[2, 3, 4, 5]] = swapped[[4, 5, 2, 3]]
    mirrored = oracle(arms, (64, 32), discs, limbs)[:, ::-1]
    np.testing.assert_allclose(drawn(poses.flip(arms, 32), (64, 32)), mirrored, atol=1e-3)
    np.testing.assert_allclose(poses.flip(poses.flip(crowd, 32), 32), crowd, atol=1e-5)
    for joint, mirror in enumerate(poses.MIRRORED):
        sides = {"left": "right", "right": "left"}
        side, _, part = poses.JOINTS[joint].partition(" ")
        assert poses.JOINTS[mirror] == f"{sides.get(side, side)} {part}".strip()


def test_heat_maps_are_those_of_pose_transfer(crowd):
    maps = np.asarray(poses.heat_maps(crowd, (64, 32)))
    assert maps.shape == (4, 64, 32, 18) and maps.dtype == np.float32
    y, x = np.mgrid[:64, :32]
    for person, points in zip(maps, crowd, strict=True):
        for joint, (px, py, seen) in enumerate(points.tolist()):
            expected = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 3**2)) if seen else 0 * x
            np.testing.assert_allclose(person[..., joint], expected, atol=1e-6)
    large = poses.heat_maps(keypoints(j4=(20, 40)), (128, 64))
    assert float(large[40, 26, 4]) == pytest.approx(math.exp(-0.5))  # 6 pixels away
