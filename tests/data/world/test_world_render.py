"""The renderer against slow NumPy oracles, and what every picture must satisfy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.data.world import body as b
from jaxreid.data.world import moments as m
from jaxreid.data.world import renderer
from jaxreid.data.world.cameras import sample_camera
from jaxreid.data.world.cloud import load_body
from jaxreid.data.world.dice import Dice
from jaxreid.data.world.people import LONG, NO_BAG, sample_person
from jaxreid.data.world.wardrobe import dress

HEIGHT, WIDTH, PICTURES = 48, 24, 24


@functools.lru_cache(maxsize=1)
def drawn():
    """Pictures of random people, and everything that went into them."""
    body = jax.tree.map(jnp.asarray, load_body(renderer.surfels_for(HEIGHT, WIDTH)))

    def one(key):
        who, passer, camera_key, visit, noise = jax.random.split(key, 5)
        camera = sample_camera(camera_key)
        figure = dress(sample_person(who), body)
        moment = m.sample_moment(key, visit, path=camera.path)
        picture = renderer.render(
            body, figure, sample_person(passer), moment, camera, noise, height=HEIGHT, width=WIDTH
        )
        return picture, figure, moment, camera

    keys = jax.random.split(jax.random.key(0), PICTURES)
    return body, *jax.device_get(jax.jit(lambda keys: jax.lax.map(one, keys))(keys))


def item(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def test_posing_equals_bone_by_bone_skinning():
    body = load_body(1500)
    key = jax.random.key(3)
    moment = m.sample_moment(key, key, path=0.7)
    figure = dress(sample_person(key), body)
    rotations = np.asarray(m.gait(moment), np.float64)
    posed = b.pose_body(
        body, figure.rest, figure.joints, figure.keypoints, m.gait(moment), moment.yaw
    )
    yaw = np.asarray(b.turn_y(moment.yaw), np.float64)
    matrices = []
    for bone, parent in enumerate(b.PARENTS):
        joint, local = np.asarray(figure.joints[bone], np.float64), np.eye(4)
        local[:3, :3] = rotations[bone]
        local[:3, 3] = joint - rotations[bone] @ joint
        above = np.eye(4) if parent >= 0 else np.block([[yaw, np.zeros((3, 1))], [np.zeros(3), 1]])
        matrices.append((matrices[parent] if parent >= 0 else above) @ local)
    rest, weights = np.asarray(figure.rest), np.asarray(body.weights)
    for i in range(0, rest.shape[1], 13):
        expected = sum(
            weights[j, i] * (matrices[j] @ np.append(rest[:, i], 1))[:3]
            for j in range(len(b.BONES))
        )
        np.testing.assert_allclose(posed.points[:, i], expected, atol=2e-4)


def test_the_cloud_is_a_body():
    body = load_body(4000)
    np.testing.assert_allclose(body.weights.sum(0), 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(body.normal, axis=0), 1, atol=1e-3)
    skin = body.region < b.SKIRT
    assert np.ptp(body.rest[1, skin]) == pytest.approx(16.6, abs=0.3)  # decimetres
    assert body.keypoints[2, 0] < 0 < body.keypoints[5, 0]  # right shoulder, left shoulder
    # Left and right mirror each other.
    left, right = (
        np.isin(body.region, (b.THIGH, b.CALF)) & s for s in (body.rest[0] > 0, body.rest[0] < 0)
    )
    assert left.sum() == pytest.approx(right.sum(), rel=0.05)


def test_mask_is_the_union_of_surfel_hits():
    body, pictures, figures, moments, cameras = drawn()
    clear = [i for i in range(PICTURES) if moments.obstruction[i] == m.CLEAR][:4]
    assert clear
    for i in clear:
        figure, moment, camera = item(figures, i), item(moments, i), item(cameras, i)
        posed, _ = renderer._stand(body, figure, moment, camera, jnp.ones(()))
        view = renderer._project(camera, moment, posed.points, figure.shown)
        pixels, _ = view.pixels(posed.points, 2 * HEIGHT, 2 * WIDTH)
        facing = (np.asarray(posed.normals) * (np.asarray(view.eye)[:, None] - posed.points)).sum(
            0
        ) > 0
        hits = np.zeros((2 * HEIGHT, 2 * WIDTH), bool)
        for x, y in np.floor(np.asarray(pixels)[:, figure.shown & facing] - 0.5).astype(int).T:
            hits[max(y, 0) : max(y + 2, 0), max(x, 0) : max(x + 2, 0)] = True
        share = hits.reshape(HEIGHT, 2, WIDTH, 2).mean((1, 3))
        mask = pictures.mask[i] > 0
        assert mask[share >= 0.5].all()  # whatever is hit is in the mask
        # Beyond the hits there are only closed pinholes, which touch them.
        extra = mask & (share < 0.5)
        assert extra.sum() <= 0.08 * mask.sum()
        assert not (extra & (share == 0) & (np.abs(np.gradient(share)[0]) == 0)).any()


def test_pictures_are_in_range_and_people_fill_their_boxes():
    _, pictures, _, moments, _ = drawn()
    assert pictures.image.dtype == np.float32
    assert pictures.image.min() >= -1 and pictures.image.max() <= 1
    assert pictures.image.std(axis=(1, 2, 3)).min() > 0.03
    whole = (np.abs(moments.box[:, :2]).max(1) < 0.04) & (moments.obstruction == m.CLEAR)
    rows = (pictures.mask.max(2) > 0).sum(1)[whole]
    assert rows.min() >= 0.8 * HEIGHT
    assert set(np.unique(pictures.mask)) == {0, 1}


def test_visible_keypoints_lie_on_the_mask():
    _, pictures, _, moments, _ = drawn()
    seen = 0
    for i in range(PICTURES):
        for x, y, visible in pictures.keypoints[i]:
            if visible:
                assert -0.5 <= x < WIDTH - 0.5 and -0.5 <= y < HEIGHT - 0.5
                assert pictures.mask[i, int(y + 0.5), int(x + 0.5)] == 1
                seen += 1
    assert 0.35 < seen / (18 * PICTURES) < 0.95


def test_the_face_is_visible_from_the_front_and_hidden_from_behind():
    _, pictures, _, moments, _ = drawn()
    turn = np.cos(moments.yaw + moments.head[:, 0])
    good = (np.abs(moments.box[:, :2]).max(1) < 0.04) & (moments.obstruction == m.CLEAR)
    nose = pictures.keypoints[:, 0, 2]
    assert (turn > 0.6)[good].any() and (turn < -0.3)[good].any()
    assert nose[good & (turn > 0.6)].all()
    assert not nose[good & (turn < -0.3)].any()


def test_without_strength_all_cameras_answer_alike():
    keys = jax.random.split(jax.random.key(5), 3)
    cameras = jax.vmap(functools.partial(sample_camera, strength=0.0))(keys)
    for name in ("mix", "gain", "gamma", "offset", "blur", "noise", "quality"):
        values = np.asarray(getattr(cameras, name))
        assert (values == values[0]).all(), name
    np.testing.assert_allclose(cameras.mix[0], np.eye(3), atol=1e-6)
    assert np.ptp(np.asarray(cameras.distance)) > 0
    strong = jax.vmap(functools.partial(sample_camera, strength=1.0))(keys)
    weak = jax.vmap(functools.partial(sample_camera, strength=0.5))(keys)
    ratio = np.log(strong.gain) / np.log(weak.gain)
    np.testing.assert_allclose(ratio, 2, rtol=1e-3)


def test_wardrobe_is_mostly_dull_and_cities_differ():
    keys = jax.random.split(jax.random.key(1), 400)
    dull, vivid, summer = (
        jax.jit(jax.vmap(functools.partial(sample_person, **how)))(keys)
        for how in ({"colourful": 0.0}, {"colourful": 1.0}, {"colourful": 0.0, "city": 1})
    )
    chroma = [np.ptp(np.asarray(p.palette)[:, 2], axis=-1).mean() for p in (dull, vivid)]
    assert chroma[0] < 0.12 < 0.4 < chroma[1]
    assert (
        (np.asarray(dull.sleeve) == 1).mean() > 0.8 > 0.5 > (np.asarray(summer.sleeve) == 1).mean()
    )
    np.testing.assert_allclose(np.asarray(dull.shape).sum(1) > 0.9, True)
    assert 0.5 < (np.asarray(dull.bag) == NO_BAG).mean() < 0.75
    assert (np.asarray(dull.hair) == LONG).any()


def test_dice_refuse_to_run_out_and_follow_their_weights():
    dice = Dice(jax.random.key(0), 2000)
    picks = np.array([dice.pick([0.0, 3.0, 1.0]) for _ in range(200)])
    assert not (picks == 0).any() and 0.6 < (picks == 1).mean() < 0.9
    normal = np.asarray(dice.normal(1500))
    assert abs(normal.mean()) < 0.1 and abs(normal.std() - 1) < 0.1
    with pytest.raises(ValueError, match="greater count"):
        dice.normal(1000)
