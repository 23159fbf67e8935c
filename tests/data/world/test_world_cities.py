"""The oracle between cities: people of one, before the cameras of the other."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import scan, world

# Mean colours of the first training pictures of worlds drawn before there was any infrared.
BEFORE = {
    "market": [
        [98.6, 113.8, 115.9],
        [102.9, 118.4, 122.2],
        [98.3, 83.7, 81.6],
        [102.9, 83.2, 80.5],
        [92.9, 78.2, 74.5],
        [93.0, 77.7, 69.9],
    ],
    "duke": [
        [78.6, 82.2, 81.6],
        [99.1, 101.1, 97.0],
        [82.2, 88.8, 80.2],
        [86.1, 86.8, 80.1],
        [102.3, 101.9, 75.8],
        [113.0, 112.4, 81.2],
    ],
}


def people(root, *splits):
    """(names, cameras, pictures [n, H, W, 3] as they lie in the files), of training people."""
    entries = [e for split in splits or ("train",) for e in scan("world", root)[split]]
    pictures = [np.asarray(Image.open(entry.path).convert("RGB"), float) for entry in entries]
    names, cameras = [e.name for e in entries], np.array([e.camera for e in entries])
    return names, cameras, np.stack(pictures)


def street(pictures):
    """Mean colour of the outer columns, where there is more street than person."""
    return np.concatenate([pictures[:, :, :3], pictures[:, :, -3:]], 2).mean((0, 1, 2))


def test_pictures_move_to_the_other_citys_streets_and_light(cities):
    names, _, here = people(cities.market)
    _, cameras, there = people(cities.duke, "train", "query", "gallery")
    apart = []
    for camera in range(3):
        moved = world.restyle(cities.market, names, [camera] * len(names), seen_by=cities.duke)
        assert moved.shape == (len(names), 48, 24, 3) and moved.dtype == np.uint8
        goal = street(there[cameras == camera])
        apart.append([np.linalg.norm(street(p.astype(float)) - goal) for p in (here, moved)])
    before, after = np.array(apart).T
    assert after.mean() < 0.4 * before.mean(), apart
    assert (after < before).all(), apart


def test_people_stay_themselves(cities):
    """The order of dark and bright clothes outlives the move."""
    names, _, _ = people(cities.market)
    own = world.restyle(cities.market, names, [0] * len(names))
    moved = world.restyle(cities.market, names, [0] * len(names), seen_by=cities.duke)
    strangers = world.restyle(cities.market, names[::-1], [0] * len(names), seen_by=cities.duke)
    trunk = [p[:, 14:26, 9:15].mean((1, 2, 3)) for p in (own, moved, strangers)]
    assert np.corrcoef(trunk[0], trunk[1])[0, 1] > 0.7 > np.corrcoef(trunk[0], trunk[2])[0, 1]


def test_the_move_is_a_function_of_its_arguments(cities):
    names, _, _ = people(cities.market)
    once = world.restyle(cities.market, names[:5], [0, 1, 2, 0, 1], seen_by=cities.duke)
    again = world.restyle(cities.market, names[3:5], [0, 1], seen_by=str(cities.duke))
    np.testing.assert_array_equal(once[3:], again)
    back = world.restyle(cities.duke, people(cities.duke)[0][:1], [2], seen_by=cities.market)
    assert back.shape == (1, 48, 24, 3)


def test_only_the_cameras_of_the_other_world_matter(cities, tmp_path):
    """Seen by the own city, pictures stay as they are, bit for bit, whoever else lives there."""
    names, cameras, _ = people(cities.market)
    own = world.restyle(cities.market, names, cameras.tolist())
    np.testing.assert_array_equal(
        world.restyle(cities.market, names, cameras.tolist(), seen_by=cities.market), own
    )
    fields = json.loads((cities.market / "world.json").read_text())["spec"]
    crowded = {**fields, "train_identities": 40, "height": 96, "colourful": 1.0}
    (tmp_path / "world.json").write_text(json.dumps({"spec": crowded}))
    np.testing.assert_array_equal(
        world.restyle(cities.market, names, cameras.tolist(), seen_by=tmp_path), own
    )


def test_the_other_world_must_exist_and_have_the_camera(cities, tmp_path):
    name = people(cities.market)[0][0]
    with pytest.raises(FileNotFoundError, match="is not a synthetic world"):
        world.restyle(cities.market, [name], [0], seen_by=tmp_path)
    fields = json.loads((cities.duke / "world.json").read_text())["spec"]
    (tmp_path / "world.json").write_text(json.dumps({"spec": {**fields, "cameras": 2}}))
    with pytest.raises(ValueError, match="from 0 to 1"):
        world.restyle(cities.market, [name], [2], seen_by=tmp_path)
    with pytest.raises(ValueError, match="no picture of this world"):
        world.restyle(cities.market, ["0001_c1_f0000001.jpg"], [0], seen_by=cities.duke)


def test_worlds_of_before_infrared_are_unchanged(cities):
    for name, before in BEFORE.items():
        files = sorted((getattr(cities, name) / "bounding_box_train").iterdir())[:6]
        means = [np.asarray(Image.open(file), float).mean((0, 1)) for file in files]
        np.testing.assert_allclose(means, before, atol=0.3, err_msg=name)
