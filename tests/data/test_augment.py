"""Augmentation: exact pixels where the choice is known, statistics where it is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.data import augment

KEY = jax.random.key(0)


def ramp(batch, height, width):
    """Images whose pixel values name their position."""
    flat = np.arange(height * width, dtype=np.float32).reshape(height, width)
    return jnp.asarray(np.repeat(np.repeat(flat[None, :, :, None], 3, -1), batch, 0))


def test_uint8_and_float_round_trip():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = augment.to_float(values)
    assert float(x.min()) == -1.0 and float(x.max()) == 1.0
    assert np.array_equal(augment.to_uint8(x), values)


def test_flip_mirrors_about_half_of_the_images_and_nothing_else():
    images = ramp(400, 2, 3)
    out = np.asarray(augment.flip(KEY, images))
    mirrored = (out == np.asarray(images[:, :, ::-1])).all((1, 2, 3))
    same = (out == np.asarray(images)).all((1, 2, 3))
    assert np.all(mirrored ^ same) and 0.4 < mirrored.mean() < 0.6


def test_random_crop_is_a_window_and_reaches_every_corner():
    images = ramp(300, 5, 4)
    out = np.asarray(augment.random_crop(KEY, images, (3, 3)))
    corners = out[:, 0, 0, 0].astype(int)
    for image, corner in zip(out[..., 0], corners, strict=True):
        top, left = divmod(corner, 4)
        assert np.array_equal(image, np.asarray(images[0, top : top + 3, left : left + 3, 0]))
    assert {divmod(c, 4) for c in corners} == {(r, c) for r in range(3) for c in range(2)}


def test_random_crop_refuses_images_that_are_too_small():
    with pytest.raises(ValueError, match="cannot crop"):
        augment.random_crop(KEY, ramp(1, 4, 4), (5, 4))


def test_crop_and_flip_draws_every_window_both_ways_round():
    assert augment.larger((64, 32), 0.125) == (72, 36) and augment.larger((4, 3), 0.25) == (5, 4)
    images = ramp(400, 5, 4).astype(jnp.uint8)
    out = np.asarray(augment.to_uint8(augment.crop_and_flip(KEY, images, (4, 3))))[..., 0]
    whole = np.asarray(images[0, :, :, 0])
    windows = [whole[top : top + 4, left : left + 3] for top in range(2) for left in range(2)]
    expected = {w.tobytes() for window in windows for w in (window, window[:, ::-1])}
    assert {image.tobytes() for image in out} == expected and len(expected) == 8


def test_a_mask_as_fourth_channel_is_cropped_and_flipped_with_its_picture():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 9, 6, 3), np.uint8)
    mask = np.where(pixels[..., :1] > 127, 255, 40).astype(np.uint8)
    both = jnp.asarray(np.concatenate([pixels, mask], -1))
    colours, shares = augment.split_mask(augment.crop_and_flip(KEY, both, (8, 5)))
    assert colours.shape == (64, 8, 5, 3) and shares.shape == (64, 8, 5, 1)
    expected = np.where(np.asarray(colours[..., :1]) > 0, 1.0, 40 / 255)
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    assert float(shares.max()) == 1.0
    # and the picture is what it would have been without the mask
    np.testing.assert_array_equal(colours, augment.crop_and_flip(KEY, jnp.asarray(pixels), (8, 5)))
    flipped, turned = augment.split_mask(augment.to_float(both[:, :, ::-1]))
    np.testing.assert_array_equal(turned > 0.5, flipped[..., :1] > 0)


def test_a_mask_of_nothing_is_exactly_zero_and_three_channels_have_none():
    _, mask = augment.split_mask(augment.to_float(jnp.zeros((1, 2, 2, 4), jnp.uint8)))
    assert not np.asarray(mask).any()
    with pytest.raises(ValueError, match=r"Expected \[B, H, W, 4\].*got \[1, 2, 2, 3\]"):
        augment.split_mask(jnp.zeros((1, 2, 2, 3)))


def test_pad_crop_pads_with_black():
    out = np.asarray(augment.pad_crop(KEY, jnp.zeros((200, 6, 4, 3)), 2))
    assert out.shape == (200, 6, 4, 3) and set(np.unique(out)) == {-1.0, 0.0}
    assert (out == 0).all((1, 2, 3)).any() and (out[:, 0] == -1).all((1, 2)).any()


def test_resized_crop_keeps_at_least_the_published_area_and_never_crops_squares():
    images = ramp(64, 128, 64) / (128 * 64)
    out = np.asarray(augment.resized_crop(KEY, images))
    assert out.shape == (64, 128, 64, 3)
    # The span of the vertical ramp is the share of rows that was kept, at least sqrt(0.64).
    span = (out[:, -1, 32, 0] - out[:, 0, 32, 0]) * 128 / 127
    assert span.min() > 0.78 and span.max() <= 1.01 and span.std() > 0.02
    square = jax.random.uniform(KEY, (8, 64, 64, 3))
    np.testing.assert_allclose(augment.resized_crop(KEY, square), square, atol=1e-5)


def test_random_erasing_fills_one_rectangle_of_the_right_area():
    images = jnp.full((300, 64, 32, 3), 0.5)
    out = np.asarray(augment.random_erasing(KEY, images))
    holes = (out != 0.5).all(-1)
    touched = holes.any((1, 2))
    assert 0.4 < touched.mean() < 0.6
    np.testing.assert_allclose(
        out[holes], np.broadcast_to(augment.ERASING_FILL, (holes.sum(), 3)), rtol=1e-6
    )
    share = holes[touched].mean((1, 2))
    assert share.min() > 0.017 and share.max() < 0.215
    for hole in holes[touched]:
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns


def test_colour_jitter_is_one_gain_per_image_and_channel():
    images = jax.random.uniform(KEY, (50, 4, 4, 3), minval=-1.0, maxval=-0.5)
    out = np.asarray(augment.colour_jitter(KEY, images, 0.2))
    gain = (out + 1) / (np.asarray(images) + 1)
    np.testing.assert_allclose(gain, np.broadcast_to(gain[:, :1, :1], gain.shape), rtol=2e-3)
    assert 0.15 < np.log(gain[:, 0, 0]).std() < 0.25
    np.testing.assert_allclose(augment.colour_jitter(KEY, images, 0.0), images, atol=1e-6)


def test_random_translation_of_all_enlarges_all():
    ramp = np.linspace(-1, 1, 128, dtype=np.float32)
    images = np.broadcast_to(ramp[:, None, None], (64, 128, 64, 3))
    slopes = np.diff(np.asarray(augment.random_translation(KEY, images, 1.0))[:, 20:100, 5], axis=1)
    np.testing.assert_allclose(slopes, 8 / 9 * (ramp[1] - ramp[0]), rtol=1e-3)


def test_random_translation_enlarges_every_other_image_by_an_eighth():
    images = ramp(400, 16, 8)
    out = np.asarray(augment.random_translation(KEY, images))
    kept = (out == np.asarray(images)).all((1, 2, 3))
    assert 0.4 < kept.mean() < 0.6
    # On a ramp, an enlarged image is the ramp with 8/9 of its slope, away from the borders.
    inner = out[~kept][:, 2:-2, 2:-2, 0]
    np.testing.assert_allclose(np.diff(inner, axis=2), 8 / 9, atol=1e-3)
    np.testing.assert_allclose(np.diff(inner, axis=1), 8 * 8 / 9, atol=1e-3)
    # 16 rows become 18, of which 16 are kept: the window starts at row 0, 1 or 2.
    assert len(np.unique(inner[:, 0, 0].round(2))) == 3 * 2
