"""The masks and keypoints that a world writes beside its pictures."""

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import load, prepare, scan, world
from jaxreid.data.world.spec import FOLDERS


def test_every_picture_has_its_exact_mask_and_keypoints(cities, tmp_path):
    splits = scan("dukemtmc_reid", cities.duke)
    names = [entry.name for entries in splits.values() for entry in entries]
    assert {p.name for p in (cities.duke / "masks").iterdir()} == set(FOLDERS)
    masks, keypoints = world.truth(cities.duke, names)
    paths = [
        cities.duke / "masks" / entry.path.parent.name / f"{entry.path.stem}.png"
        for entries in splits.values()
        for entry in entries
    ]
    written = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(written, 255 * masks)
    both = {"masks": cities.duke / "masks", "keypoints": cities.duke / "keypoints.npz"}
    prepare("world", cities.duke, tmp_path / "r", **both)
    train = load(tmp_path / "r", (48, 24))["train"]
    truth, _ = world.truth(cities.duke, train.names[:4])
    np.testing.assert_array_equal(train.masks(np.arange(4))[..., 0], 255 * truth)
    found = train.keypoints(np.arange(len(train)))
    expected = keypoints[[names.index(name) for name in train.names]]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[..., 2].any(0).all()


def test_they_are_written_on_demand_only(cities):
    assert not {"masks", "keypoints.npz"} & {path.name for path in cities.market.iterdir()}
    spec = world.read_spec(cities.market)
    world.write(spec, cities.market)  # there already
    with pytest.raises(FileExistsError, match="without its masks: give another folder"):
        world.write(spec, cities.market, masks=True)
    with pytest.raises(FileExistsError, match="without its keypoints: give another folder"):
        world.write(spec, cities.market, keypoints=True)
    world.write(world.read_spec(cities.duke), cities.duke)  # more than asked for is enough
