import hashlib
import io
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxreid.data import (
    Record,
    generated,
    held_out,
    load,
    prepare,
    scan,
    write_generated,
)

SIZE = (8, 4)


def digests(directory):
    files = sorted(path for path in directory.iterdir() if "array_record" in path.name)
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


@pytest.fixture
def prepared(official, tmp_path):
    root = official("market1501")
    prepare("market1501", root, tmp_path / "records", allow_partial=True)
    return root, tmp_path / "records"


def fakes(n, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, *SIZE, 3), np.uint8)
    for i, image in enumerate(images):
        yield generated(
            image, pid=i // 2, camera=i % 3, domain="w", name=f"f{i}", source=f"s{i}", style=i % 2
        )


def test_prepare_keeps_labels_and_order_of_the_folder(prepared):
    root, directory = prepared
    found, splits = scan("market1501", root), load(directory, SIZE)
    assert list(splits) == ["train", "query", "gallery"]
    for name, split in splits.items():
        assert split.names == tuple(entry.name for entry in found[name])
        assert split.pids.tolist() == [entry.pid for entry in found[name]]
        assert split.cameras.tolist() == [entry.camera for entry in found[name]]
        assert set(split.styles) == {-1} and set(split.sources) == {""}


def test_images_are_the_decoded_files(prepared):
    root, directory = prepared
    train = load(directory, SIZE)["train"]
    images = train.images(np.array([3, 0]))
    assert images.dtype == np.uint8 and images.shape == (2, *SIZE, 3)
    for image, row in zip(images, (3, 0), strict=True):
        with Image.open(root / "bounding_box_train" / train.names[row]) as file:
            np.testing.assert_array_equal(image, np.asarray(file))


def test_resizing_is_pillows_bicubic_from_the_original_file(prepared):
    root, directory = prepared
    train = load(directory, SIZE)["train"].resized((5, 7))
    with Image.open(root / "bounding_box_train" / train.names[1]) as file:
        expected = np.asarray(file.resize((7, 5), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(train.images(np.array([1]))[0], expected)
    assert train.size == (5, 7)


def test_take_selects_rows_in_order_and_shares_pictures(prepared):
    train = load(prepared[1], SIZE)["train"]
    part = train.take(np.array([2, 0]))
    assert part.names == (train.names[2], train.names[0])
    np.testing.assert_array_equal(part.images(np.arange(2)), train.images(np.array([2, 0])))
    assert part.take(np.array([False, True])).names == (train.names[0],)
    assert part.pictures is train.pictures


def test_a_cache_that_is_too_small_changes_nothing_but_time(prepared):
    rows = np.array([1, 1, 3, -1])
    kept = load(prepared[1], SIZE)["train"]
    decoded = load(prepared[1], SIZE, cache_bytes=0)["train"]
    first = kept.images(rows)
    np.testing.assert_array_equal(first, decoded.images(rows))
    first[:] = 0  # the caller owns what it got
    np.testing.assert_array_equal(kept.images(rows), decoded.images(rows))


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_images_from_many_threads(tmp_path, cache_bytes):
    write_generated(tmp_path / "fakes", {"train": fakes(60)})
    split = load(tmp_path / "fakes", SIZE, cache_bytes)["train"]
    expected = load(tmp_path / "fakes", SIZE)["train"].images(np.arange(60))
    draws = [np.random.default_rng(i).integers(60, size=16) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for rows, images in zip(draws, pool.map(split.images, draws), strict=True):
            np.testing.assert_array_equal(images, expected[rows])


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1"])
def test_other_modes_decode_to_rgb(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    image, file = Image.fromarray(pixels).convert(mode), io.BytesIO()
    image.save(file, "JPEG" if mode == "CMYK" else "PNG")
    record = Record(file.getvalue(), 1, 0, "w", "a", generated=True)
    write_generated(tmp_path / "odd", {"train": [record]})
    got = load(tmp_path / "odd", SIZE)["train"].images(np.array([0]))[0]
    np.testing.assert_array_equal(got, np.asarray(Image.open(file).convert("RGB")))


def test_generated_sets_come_back_losslessly_in_order(tmp_path):
    write_generated(tmp_path / "fakes", {"train": fakes(600), "query": fakes(3, seed=1)})
    splits = load(tmp_path / "fakes", SIZE)
    assert {name: len(split) for name, split in splits.items()} == {"train": 600, "query": 3}
    train = splits["train"]
    assert train.names == tuple(f"f{i}" for i in range(600))
    assert train.sources[7] == "s7" and train.styles.tolist() == [0, 1] * 300
    assert train.pids.tolist() == [i // 2 for i in range(600)]
    original = np.random.default_rng(0).integers(0, 256, (600, *SIZE, 3), np.uint8)
    np.testing.assert_array_equal(train.images(np.arange(600)), original)


def test_nothing_is_left_among_temporary_files(official, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    prepare("market1501", official("market1501"), tmp_path / "records", allow_partial=True)
    assert not any((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("notice", [True, False])
def test_a_partial_set_is_said_to_be_one_unless_a_world_stands_in(
    official, tmp_path, capsys, notice
):
    root = official("market1501")
    given = {"allow_partial": True, "notice": notice}
    prepare("market1501", root, tmp_path / "records", **given)
    said = capsys.readouterr().out
    assert ("not the complete Market-1501, so scores do not compare" in said) == notice
    assert ("where 751 are published" in said) == notice


def test_writing_twice_gives_equal_files(official, tmp_path):
    root = official("market1501")
    for name in ("a", "b"):
        prepare("market1501", root, tmp_path / name, allow_partial=True)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_a_failure_leaves_the_old_records_and_nothing_else(tmp_path):
    directory = tmp_path / "fakes"
    write_generated(directory, {"train": fakes(5)})
    before = digests(directory)

    def failing():
        yield from fakes(300)
        raise RuntimeError("the generator died")

    with pytest.raises(RuntimeError, match="the generator died"):
        write_generated(directory, {"train": failing()})
    assert digests(directory) == before
    assert [path.name for path in tmp_path.iterdir()] == ["fakes"]


def test_a_full_disk_is_said_plainly(tmp_path, monkeypatch):
    def full(_):
        raise RuntimeError("write() failed: No space left on device; writing ...")

    monkeypatch.setattr(tfds.core.SequentialWriter, "close_all", full)
    with pytest.raises(OSError, match="no space left for the records in .*fakes: free some disk"):
        write_generated(tmp_path / "fakes", {"train": fakes(5)})
    assert not list(tmp_path.iterdir())


def test_writing_again_replaces_older_records(tmp_path):
    for n in (5, 2):
        write_generated(tmp_path / "fakes", {"train": fakes(n)})
    assert len(load(tmp_path / "fakes", SIZE)["train"]) == 2


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": []}, "no pictures for the splits"),
        ({"train": [Record(b"", 1, 0, "w", "real.jpg")]}, "'real.jpg'.*not marked as generated"),
    ],
)
def test_what_is_no_generated_set_is_refused(tmp_path, splits, said):
    with pytest.raises(ValueError, match=said):
        write_generated(tmp_path / "fakes", splits)
    assert not list(tmp_path.iterdir())


def test_generated_pictures_must_be_rgb_bytes():
    with pytest.raises(ValueError, match=r"Expected uint8 \[H, W, 3\], got float64 \[8, 4, 3\]"):
        generated(np.zeros((8, 4, 3)), pid=0, camera=0, domain="", name="", source="", style=0)


def test_loading_what_was_never_prepared_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no jaxreid records.*prepare"):
        load(tmp_path, SIZE)


def test_what_a_killed_process_left_is_cleared_away_and_nothing_else(tmp_path):
    for name in (".new.unfinished-x1", ".new.backup", ".newer.unfinished-x1"):
        (tmp_path / name / "reid").mkdir(parents=True)
    write_generated(tmp_path / "new", {"train": fakes(2)})
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".new.backup", ".newer.unfinished-x1", "new"]


def test_a_process_killed_while_it_replaces_records_leaves_nothing_in_the_way(tmp_path):
    code = textwrap.dedent("""
        import os, pathlib, sys
        sys.path.insert(0, "tests/data")
        import test_data_records as t
        moved, put = [], pathlib.Path.rename
        def rename(self, target):
            put(self, target)
            moved.append(target)
            if len(moved) == int(sys.argv[2]):
                os._exit(9)
        pathlib.Path.rename = rename
        t.write_generated(pathlib.Path(sys.argv[1]), {"train": t.fakes(3)})
    """)
    for moment in (1, 2):
        write_generated(tmp_path / "set", {"train": fakes(2)})
        given = [sys.executable, "-c", code, str(tmp_path / "set"), str(moment)]
        assert subprocess.run(given).returncode == 9
        write_generated(tmp_path / "set", {"train": fakes(4)})
        assert [path.name for path in tmp_path.iterdir()] == ["set"]
        assert len(load(tmp_path / "set", SIZE)["train"]) == 4


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json", "reid-train.array_record*"])
@pytest.mark.parametrize("spoil", ["cut", "changed", "removed"])
def test_damaged_records_are_named(official, tmp_path, file, spoil):
    prepare("market1501", official("market1501"), tmp_path / "records", allow_partial=True)
    (path,) = (tmp_path / "records").glob(file)
    data = path.read_bytes()
    path.write_bytes(data[:50] if spoil == "cut" else bytes(byte and byte ^ 128 for byte in data))
    if spoil == "removed":
        path.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=f"{tmp_path / 'records'}"):
        load(tmp_path / "records", (8, 4))["train"].images(np.arange(4))


def test_the_builder_serves_tfds_users(official, tmp_path):
    import tensorflow_datasets as tfds

    import jaxreid.data.builder  # noqa: F401  registers the builder

    root = official("market1501")
    for path in root.rglob("*.jpg.jpg"):
        path.rename(path.with_suffix(""))
    builder = tfds.builder("reid/world", data_dir=tmp_path / "tfds")
    config = tfds.download.DownloadConfig(manual_dir=root)
    builder.download_and_prepare(download_config=config)
    rows = list(builder.as_data_source("query"))
    assert [row["pid"] for row in rows] == [1, 1488]
    assert rows[0]["name"] == b"0001_c1s1_001051_00.jpg" and rows[0]["domain"] == b"world"
    assert [row["index"] for row in rows] == [0, 1] and rows[0]["generated"] == 0
    assert "tensorflow" not in sys.modules


def test_importing_the_package_imports_no_tfds():
    code = "import sys, jaxreid.data as d; print({'tensorflow_datasets', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def walk(tmp_path, people=6):
    """``people`` identities, two pictures in each of cameras 0 and 1; the last in camera 0 only."""
    rows = [(pid, camera) for pid in range(people) for camera in (0, 0, 1, 1)]
    rows = [(pid, 0 if pid == people - 1 else camera) for pid, camera in rows]
    image = np.zeros((*SIZE, 3), np.uint8)
    records = [
        generated(image, pid=p, camera=c, domain="w", name=f"{i}", source="", style=-1)
        for i, (p, c) in enumerate(rows)
    ]
    write_generated(tmp_path / "walk", {"train": records})
    return load(tmp_path / "walk", SIZE)["train"]


def test_held_out_identities_are_disjoint_and_every_query_has_a_match(tmp_path):
    split = walk(tmp_path)
    train, query, gallery = held_out(split, 3, seed=0)
    assert len(np.unique(gallery.pids)) == 3 and not set(train.pids) & set(gallery.pids)
    assert sorted(train.names + gallery.names) == sorted(split.names)
    cells = list(zip(query.pids, query.cameras, strict=True))
    assert len(cells) == len(set(cells)) == 6
    assert set(query.names) <= set(gallery.names)
    for pid, camera in cells:
        assert ((gallery.pids == pid) & (gallery.cameras != camera)).any()


def test_held_out_is_a_function_of_the_seed(tmp_path):
    split = walk(tmp_path)
    names = [[part.names for part in held_out(split, 2, seed)] for seed in (0, 0, 1, 2, 3)]
    assert names[0] == names[1] and any(names[0] != other for other in names[2:])


@pytest.mark.parametrize("identities", [0, 6])
def test_held_out_refuses_impossible_numbers(tmp_path, identities):
    with pytest.raises(ValueError, match="has 6, of which 5 are seen by two cameras"):
        held_out(walk(tmp_path), identities, seed=0)
