"""Damaged names, lists, keypoints, masks: read sanely, or refused by a message that names them."""

import io
import json

import numpy as np
import pytest
from fuzzing import damaged, fuzz, orderly
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxreid.data import keypoint_files, masks, scan
from jaxreid.data.layouts import find
from jaxreid.data.record import Record

LAYOUTS = [
    *("market1501", "world", "dukemtmc_reid", "cuhk03_np_detected"),
    *("msmt17_v1", "msmt17_v2", "prid2011", "sysu_mm01", "regdb_1"),
]
LISTS = {
    "msmt17_v2": ["list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt"],
    "sysu_mm01": ["exp/train_id.txt", "exp/val_id.txt", "exp/test_id.txt"],
    "regdb_1": ["idx/train_visible_1.txt", "idx/test_visible_1.txt", "idx/test_thermal_1.txt"],
}


def scanned(name, root):
    """What a scan finds, which must be numbers that fit and pictures below the root."""
    found = scan(name, root)
    for entry in (entry for entries in found.values() for entry in entries):
        assert -1 <= entry.pid < 2**31 and 0 <= entry.camera < 1000
        assert root in entry.path.parents and ".." not in entry.path.parts


@pytest.mark.parametrize("name", LAYOUTS)
def test_file_names(official, name):
    root = official(name)
    pictures = sorted(p for kind in ("jpg", "png", "bmp") for p in root.rglob(f"[!.]*.{kind}"))

    @fuzz(40)
    @given(st.data())
    def run(data):
        like = data.draw(st.sampled_from(pictures))
        drawn = data.draw(damaged(like.stem.encode())).translate(None, b"\0/")[:200]
        path = like.with_name(drawn.decode("utf-8", "surrogateescape") + like.suffix)
        new = not path.exists()
        path.touch()
        try:
            with orderly(path.name, root):
                scanned(name, root)
        finally:
            if new:
                path.unlink()

    run()


@pytest.mark.parametrize(("name", "listed"), [(n, part) for n in LISTS for part in LISTS[n]])
def test_lists(official, name, listed):
    root = official(name)
    path = root / listed
    whole = path.read_bytes()
    (root.parent / "0001_000_03_0303morning_0208_0.jpg").touch()

    @fuzz(40)
    @given(damaged(whole))
    def run(content):
        path.write_bytes(content)
        with orderly(path, path.relative_to(root), root):
            scanned(name, root)

    run()


@pytest.mark.parametrize(
    "place", ["../0001_000_03_0303morning_0208_0.jpg", "{out}", "0001/../{name}", "a\0b.jpg"]
)
def test_a_list_that_leads_out_of_the_set_is_refused(official, place):
    root = official("msmt17_v2")
    name = "0001_000_03_0303morning_0208_0.jpg"
    for outside in (root.parent / name, root / "mask_test_v2" / name, root / name):
        outside.touch()
    line = place.format(out=root.parent / name, name=name)
    (root / "list_query.txt").write_text(f"0000/0000_000_01_0303morning_0108_0.jpg 0\n{line} 1\n")
    with pytest.raises(ValueError, match=r"list_query\.txt, line 2: .* below"):
        scan("msmt17_v2", root)


JOINTS = np.column_stack([np.arange(18) % 4, np.arange(18) % 8, np.arange(18) % 3 > 0])
FLAT = JOINTS[:17].ravel().tolist()
PEOPLE = {"people": [{"pose_keypoints_2d": JOINTS.ravel().tolist()}]}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"image_id": 1, "keypoints": FLAT}],
}
ROWS = f"a.jpg:{JOINTS[:, 1].tolist()}:{JOINTS[:, 0].tolist()}"


def npz():
    file = io.BytesIO()
    np.savez(file, names=np.array(["a.jpg"]), keypoints=JOINTS[None].astype(np.float32))
    return file.getvalue()


@pytest.mark.parametrize(
    ("file", "whole"),
    [
        ("k.npz", npz()),
        ("k.json", json.dumps({"a.jpg": JOINTS.tolist()}).encode()),
        ("k.json", json.dumps([{"image_id": "a.jpg", "keypoints": FLAT}]).encode()),
        ("k.json", json.dumps(COCO).encode()),
        ("k.csv", f"name:keypoints_y:keypoints_x\n{ROWS}\n".encode()),
        ("folder/a_keypoints.json", json.dumps(PEOPLE).encode()),
        ("folder/a.txt", "\n".join(f"{y} {x}" for x, y, _ in JOINTS).encode()),
    ],
    ids=["npz", "json", "alphapose", "coco", "pose_transfer", "openpose", "fd_gan"],
)
def test_keypoints(tmp_path, file, whole):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    given_path = tmp_path / file.split("/")[0]
    path.write_bytes(whole)
    assert len(keypoint_files.read(given_path).people) == 1

    @fuzz(150)
    @given(damaged(whole))
    def run(content):
        path.write_bytes(content)
        with orderly(path):
            for name, person in keypoint_files.read(given_path).people.items():
                assert type(name) is str and person.shape == (18, 3)
                assert np.isfinite(person.astype(np.float32)).all()

    run()


def test_masks(official):
    root = official("market1501")
    picture = next(root.glob("query/0*.jpg"))
    mask = masks.mask_path(picture, root, root / "masks")
    mask.parent.mkdir(parents=True)
    whole = io.BytesIO()
    Image.new("L", Image.open(picture).size, 255).save(whole, "PNG")
    records = {"train": [Record(picture, 1, 0, "market1501", picture.name)]}

    @fuzz(150)
    @given(damaged(whole.getvalue()))
    def run(content):
        mask.write_bytes(content)
        with orderly(mask):
            found = masks.attach(find("market1501"), root, records, root / "masks")
            assert found["train"][0].mask == mask

    run()
