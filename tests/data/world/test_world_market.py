"""Worlds on disk: layout, counts, determinism, the oracle translation and the truth."""

import collections
import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import world
from jaxreid.data.world.spec import FOLDERS

NAME = re.compile(r"^(-1|\d{4})_c([1-6])s(\d)_(\d{6})_(\d{2})\.jpg$")
SPEC = world.Spec(
    seed=7,
    train_identities=4,
    test_identities=3,
    cameras=3,
    images_per_camera=2.5,
    test_cameras_per_identity=2.0,
    distractors=5,
    junk=4,
    height=48,
    width=24,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "market"
    world.write(SPEC, path)
    return path


def names(root, folder):
    return sorted(path.name for path in (root / folder).iterdir())


def decode(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_layout_parses_and_the_counts_are_the_specs(root):
    assert sorted(p.name for p in root.iterdir()) == sorted([*FOLDERS, "world.json"])
    parsed = {f: [NAME.match(name).groups() for name in names(root, f)] for f in FOLDERS}  # type: ignore
    train, gallery, query = (parsed[folder] for folder in FOLDERS)
    ids = {folder: {p for p, *_ in rows} - {"-1", "0000"} for folder, rows in parsed.items()}
    assert len(ids["bounding_box_train"]) == 4 and len(ids["query"]) == 3
    assert ids["query"] == ids["bounding_box_test"]
    assert not ids["query"] & ids["bounding_box_train"]
    assert len(train) == round(4 * 2.0 * 2.5)
    assert collections.Counter((p, c) for p, c, *_ in query).most_common(1)[0][1] == 1
    assert len(query) == 3 * 2
    assert sum(p == "0000" for p, *_ in gallery) == 5
    assert sum(p == "-1" for p, *_ in gallery) == 4
    cells = {(p, c) for p, c, *_ in gallery if p in ids["query"]}
    assert cells == {(p, c) for p, c, *_ in query}
    assert {bb for *_, bb in query} == {"00"} and "00" not in {bb for *_, bb in train + gallery}


def test_pictures_have_the_asked_size(root):
    for folder in FOLDERS:
        assert decode(root / folder / names(root, folder)[0]).shape == (48, 24, 3)


def test_the_same_spec_gives_the_same_bytes(root, tmp_path):
    world.write(SPEC, tmp_path / "again")
    for folder in FOLDERS:
        assert names(root, folder) == names(tmp_path / "again", folder)
        for name in names(root, folder):
            path = tmp_path / "again" / folder / name
            assert (root / folder / name).read_bytes() == path.read_bytes(), name


def test_writing_is_atomic_and_never_overwrites(root, tmp_path):
    world.write(SPEC, root)  # complete already: nothing to do
    with pytest.raises(FileExistsError, match="another folder"):
        world.write(dataclasses.replace(SPEC, seed=8), root)
    assert world.read_spec(root) == SPEC
    with pytest.raises(FileNotFoundError, match=r"world\.json"):
        world.read_spec(tmp_path)
    assert not list(root.parent.glob(".*partial*"))


def test_outsiders_are_new_people_before_the_same_cameras(root):
    drawn = world.outsiders(root, 0, 36)
    assert drawn.shape == (36, 48, 24, 3) and drawn.dtype == np.uint8
    np.testing.assert_array_equal(world.outsiders(root, 4, 3), drawn[4:7])
    known = names(root, FOLDERS[0])
    same_cameras = world.restyle(root, known, [int(name.split("_c")[1][0]) - 1 for name in known])
    assert len({image.tobytes() for image in (*drawn, *same_cameras)}) == 36 + len(known)
    look = np.stack(
        [world.restyle(root, known, [c] * len(known)).mean((0, 1, 2)) for c in range(3)]
    )
    mean = np.stack([drawn[c::3].mean((0, 1, 2)) for c in range(3)])
    distances = np.linalg.norm(mean[:, None] - look[None], axis=-1)
    assert (distances.argmin(axis=1) == np.arange(3)).all()


def test_outsiders_have_been_compressed_like_the_files_of_the_world(root, tmp_path):
    """A second compression at the same quality changes a picture far less than the first."""

    def change(picture):
        return min(np.abs(recode(picture, q, tmp_path) - picture).mean() for q in range(40, 97))

    name = names(root, FOLDERS[0])[0]
    fresh = world.restyle(root, [name], [int(name.split("_c")[1][0]) - 1])[0]
    first = change(fresh.astype(np.uint8))
    for picture in world.outsiders(root, 0, 3):
        assert change(picture) < first / 2


def test_restyle_with_the_own_camera_gives_the_written_picture(root, tmp_path):
    chosen = names(root, "bounding_box_train")[:6]
    own = [int(NAME.match(name)[2]) - 1 for name in chosen]  # type: ignore
    pictures = world.restyle(root, chosen, own)
    assert pictures.shape == (6, 48, 24, 3) and pictures.dtype == np.uint8
    for name, picture in zip(chosen, pictures, strict=True):
        written = decode(root / "bounding_box_train" / name).astype(int)
        assert np.abs(written - picture).mean() < 12  # JPEG loss only
        best = min(
            range(40, 97), key=lambda q: np.abs(recode(picture, q, tmp_path) - written).sum()
        )
        np.testing.assert_array_equal(recode(picture, best, tmp_path), written)


def recode(picture, quality, folder):
    Image.fromarray(picture).save(folder / "x.jpg", quality=quality)
    return decode(folder / "x.jpg").astype(int)


def test_repose_changes_the_pose_and_nothing_else(root):
    names = sorted(p.name for p in (root / "bounding_box_train").glob("*.jpg"))
    masks, keypoints = world.truth(root, names)

    def turned(points):
        """How far the left shoulder is to the right of the right one: > 0 from the front."""
        return points[..., 5, 0] - points[..., 2, 0]

    front, back = np.argsort(turned(keypoints))[[-1, 0]]
    likes = [names[front], names[back]]
    own, other = (world.repose(root, [name] * 2, likes) for name in likes)
    for k, row in enumerate((front, back)):
        still = world.restyle(root, [names[row]], [int(names[row].split("_c")[1][0]) - 1])[0]
        np.testing.assert_array_equal((own, other)[k][k], still)  # in their own pose
        changed, street = (own, other)[k][1 - k].astype(int), masks[row] == 0
        assert np.abs(changed - still)[~street].mean() > 10
        # boxes follow people, so the street shifts a little, but it is the same one
        assert np.abs(changed[street].mean(0) - still[street].mean(0)).max() < 9
    streets = [pictures[k, :, :2].mean((0, 1)) for k, pictures in enumerate((own, other))]
    assert np.abs(streets[0] - streets[1]).max() > 12  # two cameras' streets differ
    with pytest.raises(ValueError, match="1 names and 2 pictures"):
        world.repose(root, names[:1], likes)


def test_restyle_keeps_the_moment_and_changes_the_style(root):
    chosen = names(root, "bounding_box_train")[:6]
    styled = [world.restyle(root, chosen, [camera] * 6).astype(float) for camera in range(3)]
    colours = np.array([pictures.mean((1, 2)) for pictures in styled])  # camera, picture, RGB
    between, within = colours.mean(1).std(0).mean(), colours.std(1).mean()
    assert between > 5 and np.abs(styled[0] - styled[1]).mean() > 10
    assert within < 60


def test_truth_tells_people_from_street(root):
    train, gallery = names(root, "bounding_box_train"), names(root, "bounding_box_test")
    masks, keypoints = world.truth(root, train)
    assert masks.shape == (len(train), 48, 24) and masks.dtype == np.uint8
    assert keypoints.shape == (len(train), 18, 3)
    assert (masks.mean((1, 2)) > 0.08).all()
    strangers, _ = world.truth(root, [name for name in gallery if name.startswith("0000")])
    shares = strangers.mean((1, 2))
    assert (shares < 0.02).any() and (shares > 0.08).any()  # empty street, and other people


def test_unknown_names_and_cameras_are_refused(root):
    name = names(root, "query")[0]
    with pytest.raises(ValueError, match="no picture of this world"):
        world.restyle(root, ["9999_c1s1_000000_01.jpg"], [0])
    with pytest.raises(ValueError, match="from 0 to 2"):
        world.restyle(root, [name], [3])
    with pytest.raises(ValueError, match="names"):
        world.restyle(root, [name], [0, 1])
    assert world.restyle(root, [], []).shape == (0, 48, 24, 3)


def test_market_preset_has_markets_counts():
    table = world.plan(world.Spec.market())
    assert np.bincount(table.folder).tolist() == [12936, 19732, 3368]
    assert len(set(table.names)) == len(table.names)
    assert all(NAME.match(name) for name in table.names)
    train = set(table.pid[table.folder == 0].tolist())
    test = set(table.pid[table.folder == 2].tolist())
    assert len(train) == 751 and len(test) == 750 and train | test == set(range(1, 1502))
    pairs = set(zip(table.pid[table.folder == 2], table.camera[table.folder == 2], strict=True))
    seen = collections.Counter(int(pid) for pid, _ in pairs)
    assert len(pairs) == 3368 and min(seen.values()) >= 2 and max(seen.values()) <= 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cameras", 1),
        ("train_identities", 0),
        ("test_identities", 0),
        ("cameras_per_identity", 5.0),
        ("test_cameras_per_identity", 1.0),
        ("images_per_camera", 0.5),
        ("height", 0),
        ("width", -64),
        ("strength", -0.1),
        ("colourful", 1.5),
        ("city", 2),
        ("seed", 0.5),
        ("junk", -1),
    ],
)
def test_impossible_specs_name_the_field(field, value):
    with pytest.raises(ValueError, match=rf"Spec\.{field} = "):
        world.Spec(**{field: value})
