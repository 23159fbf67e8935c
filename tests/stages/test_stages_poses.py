"""Canonical poses: features against a slow oracle, groups that are known, what is left on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxreid import data
from jaxreid.data import Record, keypoint_files, keypoints
from jaxreid.data.pictures import encode_png
from jaxreid.data.poses import flip
from jaxreid.data.records import write
from jaxreid.stages import poses, sets
from jaxreid.stages.clustering import Clusters
from jaxreid.stages.poses import Settings
from jaxreid.training import WorkdirError

SIZE = (32, 16)
# A person who faces the camera, in lengths of the torso from the neck.
FRONT = np.array(
    [[0, -0.4], [0, 0], [-0.3, 0], [-0.35, 0.5], [-0.35, 0.9], [0.3, 0], [0.35, 0.5], [0.35, 0.9]]
    + [[-0.2, 1], [-0.2, 1.8], [-0.2, 2.6], [0.2, 1], [0.2, 1.8], [0.2, 2.6]]
    + [[-0.05, -0.5], [0.05, -0.5], [-0.1, -0.45], [0.1, -0.45]]
)
FACE, LEFT_SIDE = [0, 14, 15], [5, 6, 7, 11, 12, 13, 15, 17]


def turned(way, n, rng):
    """Keypoints of people who turn one way, in places and sizes of their own."""
    points = np.repeat(np.append(FRONT, np.ones((18, 1)), axis=1)[None], n, axis=0)
    if way == "back":
        points[..., 0] *= -1
        points[:, FACE, 2] = 0
    if way in ("right", "left"):
        points[..., 0] *= 0.05
        points[:, FACE, 0] += 0.3
        points[:, LEFT_SIDE, 2] = 0
    if way == "left":
        points = np.asarray(flip(points, 1))
    scale, place = rng.uniform(6, 8, (n, 1, 1)), rng.uniform((7, 8), (9, 10), (n, 1, 2))
    noise = rng.normal(size=(n, 18, 2)) * 0.1
    points = np.concatenate([points[..., :2] * scale + place + noise, points[..., 2:]], axis=-1)
    return points * points[..., 2:]


def people():
    """Four ways to turn, shuffled, and the number of each person's; the last two show no torso."""
    rng = np.random.default_rng(0)
    ways = [turned(way, 12, rng) for way in ("front", "right", "back", "left")]
    order = rng.permutation(48)
    hidden = turned("front", 2, rng)
    hidden[0, [1, 2, 5], 2] = hidden[1, [8, 11], 2] = 0
    return np.concatenate([np.concatenate(ways)[order], hidden]), np.repeat(np.arange(4), 12)[order]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A training split of these people."""
    directory = tmp_path_factory.mktemp("poses")
    image = encode_png(np.full((*SIZE, 3), 99, np.uint8))
    shares = keypoints.to_shares(people()[0], SIZE)
    records = [
        Record(image, i, 0, "w", f"{i}", keypoints=points) for i, points in enumerate(shares)
    ]
    write(directory / "r", {"train": records}, "generated")
    return data.load(directory / "r", SIZE)["train"]


def oracle(person):
    """Features of one pose, joint by joint."""
    seen = [bool(joint[2]) for joint in person]
    shoulders = [person[j][:2] for j in (2, 5) if seen[j]]
    hips = [person[j][:2] for j in (8, 11) if seen[j]]
    top = person[1][:2] if seen[1] else sum(shoulders) / len(shoulders)
    length = np.linalg.norm(sum(hips) / len(hips) - top)
    places = [(person[j][:2] - top) / length if seen[j] else np.zeros(2) for j in range(18)]
    return np.concatenate([*places, np.array(seen, float)])


def test_features_are_those_of_the_rule_joint_by_joint(proof):
    points, truth = people()[0][:48], people()[1]
    a, b, c = np.flatnonzero(truth == 0)[:3]  # whose torsos end at other joints
    points[a, 1, 2] = points[b, 11, 2] = points[c, [1, 2], 2] = 0
    expected = np.array([oracle(person) for person in points])
    error = np.abs(poses.features(points) - expected).max()
    proof("pose features", "joint by joint", error, 1e-9)
    moved = points * [2, 2, 1] + [5, 9, 0]
    np.testing.assert_allclose(poses.features(moved), expected, atol=1e-9)
    assert poses.has_torso(people()[0]).tolist() == 48 * [True] + 2 * [False]


def test_headings_tell_front_side_and_back():
    points, truth = people()
    front, side = poses.heading(points[:48]).T
    assert (front[truth == 0] > 0.8).all() and (front[truth == 2] < -0.8).all()
    assert (side[truth == 1] == 1).all() and (side[truth == 3] == -1).all()
    mirrored = poses.heading(np.asarray(flip(points[:48], 16)))
    np.testing.assert_allclose(mirrored, np.stack([front, -side], 1), atol=1e-5)


@pytest.mark.parametrize("pose", poses.MEMBERS)
def test_groups_are_found_in_the_order_of_turning(pose):
    points, truth = people()
    points = points[:48]
    found = poses.grouped(poses.features(points), Settings(poses=4))
    chosen, labels, nearest = poses.representatives(points, found, pose)
    np.testing.assert_array_equal(labels, truth)
    for k, each in enumerate(chosen):
        members = points[truth == k]
        gaps = np.square(poses.features(members) - poses.features(members).mean(0)).sum(1)
        assert nearest[k] == np.flatnonzero(truth == k)[gaps.argmin()]
        expected = members.mean(0) if pose == "mean" else points[nearest[k]]
        np.testing.assert_allclose(each, expected, atol=1e-5)


def test_a_mean_pose_has_the_joints_that_most_show():
    points = np.ones((4, 18, 3))
    points[:, 0] = [[1, 2, 1], [3, 4, 1], [5, 6, 1], [99, 99, 0]]
    points[:2, 3, 2] = 0  # half of them: not more
    found = Clusters(np.zeros(4, int), poses.features(points).mean(0)[None])
    (chosen,), *_ = poses.representatives(points, found, "mean")
    assert chosen[0].tolist() == [3, 4, 1] and chosen[3].tolist() == [0, 0, 0]


def test_a_mean_without_a_torso_gives_way_to_the_medoid():
    points = np.concatenate([turned("front", 1, np.random.default_rng(0))] * 4)
    points[:2, 8, 2] = points[2:, 11, 2] = 0  # each hip is seen on half of them: not more
    found = Clusters(np.zeros(4, int), poses.features(points).mean(0)[None])
    (chosen,), _, (nearest,) = poses.representatives(points, found, "mean")
    np.testing.assert_allclose(chosen, points[nearest], rtol=1e-6)


def test_a_start_that_leaves_a_group_empty_comes_last(monkeypatch):
    points = np.arange(4.0)[:, None]
    empty = Clusters(np.array([0, 0, 2, 2]), np.array([[0.5], [9.0], [2.5]]))
    full = Clusters(np.array([0, 1, 2, 2]), np.array([[0.9], [1.9], [4.0]]))
    monkeypatch.setattr(poses, "kmeans", lambda points, k, seed: (empty, full)[seed[1]])
    assert poses.grouped(points, Settings(poses=3, starts=2)) is full


def test_the_best_of_several_starts_counts():
    points = np.random.default_rng(0).normal(size=(60, 3))

    def loss(starts):
        found = poses.grouped(points, Settings(poses=6, starts=starts))
        return np.square(points - found.centroids[found.labels]).sum()

    losses = [loss(starts) for starts in (1, 3, 10)]
    assert losses[0] >= losses[1] >= losses[2] and losses[2] < losses[0]


def test_the_stage_leaves_poses_and_pictures_and_is_done_once(split, tmp_path, capsys):
    found = poses.canonical(tmp_path / "p", split, Settings(poses=4), "data")
    assert found.keypoints.shape == (4, 18, 3) and found.keypoints.dtype == np.float32
    points, truth = people()
    for k, (each, name) in enumerate(zip(found.keypoints, found.names, strict=True)):
        gaps = np.abs(points[:48][truth == k] - each).max((1, 2))
        assert gaps.min() < 1e-4
        row = split.names.index(name)
        np.testing.assert_array_equal(split.keypoints(np.array([row]))[0], each)
    for name, corner in (("poses.png", 255), ("tsne.png", 255)):
        with Image.open(tmp_path / "p" / name) as picture:
            pixels = np.asarray(picture)
        assert pixels[0, 0, 0] == corner and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 8
    stamp = (tmp_path / "p" / "poses.png").stat().st_mtime_ns
    again = poses.canonical(tmp_path / "p", split, Settings(poses=4), "data")
    np.testing.assert_array_equal(again.keypoints, found.keypoints)
    assert again.made_by == found.made_by
    assert (tmp_path / "p" / "poses.png").stat().st_mtime_ns == stamp


def test_what_cannot_be_done_is_said(split, tmp_path):
    with pytest.raises(ValueError, match="Of 50 training pictures 48 show .* 49 canonical poses"):
        poses.canonical(tmp_path / "p", split, Settings(poses=49), "data")
    alike = replace(split, joints=np.repeat(split.joints[:1], len(split), axis=0))
    with pytest.raises(ValueError, match="only 1 different ones, too few for 2 canonical poses"):
        poses.canonical(tmp_path / "q", alike, Settings(poses=2), "data")
    with pytest.raises(ValueError, match="'average': choose medoid or mean"):
        Settings(pose="average")
    with pytest.raises(ValueError, match="must be positive, not 0, 10"):
        Settings(poses=0)


def wrong(person, what):
    """A person of whom a detector took something else for the hips, or for a hand."""
    joints, place = {"hips": ([8, 11], person[1, :2] + (0, 0.8)), "hand": ([4], (200.0, 3.0))}[what]
    person = person.copy()
    person[joints] = (*place, 1)
    return person


@pytest.mark.parametrize("what", ["hips", "hand"])
def test_a_false_detection_stands_for_no_group(what, tmp_path, capsys):
    found = people()[0][:48]
    found[20] = wrong(found[20], what)
    image, shares = encode_png(np.full((*SIZE, 3), 99, np.uint8)), keypoints.to_shares(found, SIZE)
    records = [Record(image, i, 0, "w", f"{i}", keypoints=each) for i, each in enumerate(shares)]
    write(tmp_path / "r", {"train": records}, "generated")
    split = data.load(tmp_path / "r", SIZE)["train"]
    made = poses.canonical(tmp_path / "p", split, Settings(poses=4), "")
    assert "20" not in made.names and "47 show a neck" in capsys.readouterr().out
    whole = np.delete(np.arange(48), 20)
    clusters = poses.grouped(poses.features(found[whole]), Settings(poses=4))
    expected = poses.representatives(found[whole], clusters, "medoid")[2]
    assert made.names == tuple(str(row) for row in whole[expected])


def test_two_people_have_poses_but_no_map(split, tmp_path):
    poses.canonical(tmp_path, split.take(np.arange(2)), Settings(poses=1), "")
    assert (tmp_path / "poses.png").exists() and not (tmp_path / "tsne.png").exists()
    assert len(poses.pose_sheets.report(tmp_path)) == 1


def test_a_run_reads_keypoints_of_a_folder_or_a_file(tmp_path):
    root = tmp_path / "market"
    names = {
        "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0007_c2s1_000776_01.jpg"],
        "query": ["0001_c1s1_001051_00.jpg", "0003_c1s1_001051_00.jpg"],
        "bounding_box_test": ["0001_c2s1_001051_01.jpg", "0003_c2s1_001051_01.jpg"],
    }
    for folder, files in names.items():
        (root / folder).mkdir(parents=True)
        for name in files:
            Image.new("RGB", (16, 32)).save(root / folder / name)
    listed = [f"{folder}/{name}" for folder, files in names.items() for name in files]
    keypoint_files.write(root / "keypoints.npz", listed, people()[0][:6])
    shape = {"height": 32, "width": 16, "world": {}}
    for number, chosen in enumerate(("root", str(root / "keypoints.npz"))):
        settings = sets.Settings("market1501", str(root), **shape, keypoints=chosen)
        found = sets.prepare(tmp_path / f"run{number}", settings)
        got = found.train.keypoints(np.arange(2))
        np.testing.assert_allclose(got, people()[0][:2], atol=1e-4)
    keypoint_files.write(root / "keypoints.npz", listed, people()[0][6:12])  # of the same size
    with pytest.raises(WorkdirError, match="source"):
        sets.prepare(tmp_path / "run1", settings)
    openpose = tmp_path / "openpose"
    (openpose / "notes.v1").mkdir(parents=True)
    for name, points in zip(listed, people()[0], strict=False):
        file = openpose / f"{name[:-4]}_keypoints.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        flat = [float(x) for x in points[:18].ravel()]
        file.write_text(json.dumps({"people": [{"pose_keypoints_2d": flat}]}))
    settings = replace(settings, keypoints=str(openpose))
    of_folder = sets.prepare(tmp_path / "run_folder", settings)
    np.testing.assert_allclose(of_folder.train.keypoints(np.arange(2)), people()[0][:2], atol=1e-4)
    (openpose / "query").rename(openpose / "other")
    with pytest.raises(WorkdirError, match="source"):
        sets.prepare(tmp_path / "run_folder", settings)
    plain = sets.prepare(tmp_path / "run", sets.Settings("market1501", str(root), **shape))
    assert plain.train.joints is None and plain.made_by != found.made_by
    with pytest.raises(ValueError, match="data.keypoints is 'x': the world takes root or nothing"):
        sets.prepare(tmp_path / "w", sets.Settings("world", "", **shape, keypoints="x"))
