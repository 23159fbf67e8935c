"""Files of keypoints: our own, and those of OpenPose, AlphaPose, COCO, Pose-Transfer and FD-GAN."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

JOINTS = 18
# Positions of COCO/OpenPose-18's joints in OpenPose's 25 and, neck added at the end, in COCO's 17.
OF_25 = np.array([*range(8), *range(9, 19)])
OF_COCO = np.array([0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3])
SHOULDERS = (5, 6)  # in COCO's order
LARGEST = 1e6  # pixels; what is farther away is no place
CONFIDENT = 0.4  # AlphaPose gives every joint a place; those above this it draws
OPENPOSE = "_keypoints.json"
FORMATS = (
    "NAME.npz (names [n], keypoints [n, 18, 3]), NAME.json ({name: 18 x [x, y, visible]}), "
    "AlphaPose's results or COCO's person_keypoints (.json, 17 joints), Pose-Transfer's annotation "
    f"(.csv), or a folder of OpenPose's NAME{OPENPOSE} or FD-GAN's NAME.txt"
)


class Found(NamedTuple):
    """What a file or folder of keypoints holds.

    Attributes:
        people: by the name of the picture, float64 ``[18, 3]``: x and y in pixels, and above 0
            where visible. Of several people on a picture, the one whose joints are surest.
        stems: whether names lack the picture's suffix.
        size: (height, width) of the pictures that the pixels are of; None for their own.
    """

    people: dict[str, np.ndarray]
    stems: bool = False
    size: tuple[int, int] | None = None


def read(path: Path) -> Found:
    """Reads keypoints in any of ``FORMATS``; which one, its name and its content say.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: another format, or a broken file; the message names it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: there are no keypoints to read.")
    if path.is_dir():
        return _folder(path)
    readers = {".npz": _npz, ".json": _json, ".csv": _pose_transfer}
    if path.suffix not in readers:
        raise ValueError(f"{path} is not a file of keypoints: give {FORMATS}.")
    found = _guarded(readers[path.suffix], path)
    for name, person in found.people.items():
        if not isinstance(name, str):
            raise ValueError(f"{path}: {name!r:.80} is not the name of a picture: give {FORMATS}.")
        _check(person, f"{path}, {name!r:.80}")
    return found


def write(
    path: Path, names: Sequence[str], keypoints: np.ndarray, threshold: float | None = None
) -> None:
    """Writes our own format, an uncompressed NPZ.

    Args:
        path: of the file.
        names: of pictures: bare, or with the path below the set's folder.
        keypoints: ``[n, 18, 3]`` in pixels of each picture.
        threshold: of the probability from which joints count as visible, if there is one.
    """
    people = {"names": np.array(names, str), "keypoints": np.asarray(keypoints, np.float32)}
    people |= {} if threshold is None else {"threshold": np.array(threshold)}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **people)


def threshold_of(path: Path) -> float | None:
    """What ``write`` was given as threshold; None if nothing."""
    with np.load(path, allow_pickle=False) as arrays:
        return float(arrays["threshold"]) if "threshold" in arrays else None


def _npz(path: Path) -> Found:
    with np.load(path, allow_pickle=False) as arrays:
        names, keypoints = arrays["names"], np.asarray(arrays["keypoints"], np.float64)
    return Found(dict(zip(names.tolist(), keypoints, strict=True)))


def _json(path: Path) -> Found:
    content = json.loads(path.read_text())
    if isinstance(content, list):
        return Found(_alphapose(content))
    if "annotations" in content:
        return Found(_coco(content))
    return Found({name: np.array(joints, np.float64) for name, joints in content.items()})


def _alphapose(results: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    people: dict[str, list[np.ndarray]] = {}
    for each in results:
        person = _from_17(each["keypoints"])
        person[:, 2] *= person[:, 2] > CONFIDENT
        people.setdefault(each["image_id"], []).append(person)
    return {name: _surest(found) for name, found in people.items()}


def _coco(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Joints that are marked as hidden have a place and are drawn, too."""
    names = {image["id"]: image["file_name"] for image in content["images"]}
    people: dict[str, list[np.ndarray]] = {}
    for each in content["annotations"]:
        person = _from_17(each["keypoints"])
        person[:, 2] = person[:, 2] > 0
        people.setdefault(names[each["image_id"]], []).append(person)
    return {name: _surest(found) for name, found in people.items()}


def _pose_transfer(path: Path) -> Found:
    """Coordinates below 0 are missing joints; all are in pixels of 128 x 64 pictures."""
    people = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter=":"):
            places = np.array([json.loads(row[f"keypoints_{axis}"]) for axis in "yx"], np.float64)
            people[row["name"]] = _from_rows(places.T)
    return Found(people, size=(128, 64))


def _folder(path: Path) -> Found:
    readers = {OPENPOSE: _openpose, ".txt": _fd_gan}
    for suffix, reader in readers.items():
        if files := sorted(p for p in path.rglob(f"*{suffix}") if not p.name.startswith(".")):
            people = {}
            for file in files:
                person = _guarded(reader, file)
                if person is not None:
                    name = file.relative_to(path).as_posix().removesuffix(suffix)
                    people[name] = _check(person, file)
            return Found(people, stems=True)
    raise ValueError(f"The folder {path} holds no keypoints: give {FORMATS}.")


def _openpose(path: Path) -> np.ndarray | None:
    """18 or 25 joints; None if nobody was found."""
    people = []
    for each in json.loads(path.read_text())["people"]:
        person = np.array(each["pose_keypoints_2d"], np.float64).reshape(-1, 3)
        people.append(person[OF_25] if len(person) == 25 else person)
    return _surest(people) if people else None


def _fd_gan(path: Path) -> np.ndarray:
    """A line ``h w`` per joint, below 0 where it is missing."""
    lines = path.read_text().strip().splitlines()
    return _from_rows(np.array([line.split() for line in lines], np.float64))


def _from_rows(places: np.ndarray) -> np.ndarray:
    """Places ``[18, 2]``, row and column, as keypoints."""
    seen = np.all(places >= 0, axis=1)
    return np.column_stack([places[:, 1], places[:, 0], seen]) * seen[:, None]


def _from_17(flat: Sequence[float]) -> np.ndarray:
    """COCO's 17 joints as 18: the neck lies between the shoulders, as sure as the less sure one."""
    if len(flat) != 51:
        raise ValueError(f"a person has {len(flat)} numbers where COCO's 17 joints have 51")
    joints = np.array(flat, np.float64).reshape(17, 3)
    left, right = (joints[joint] for joint in SHOULDERS)
    neck = [*(left + right)[:2] / 2, min(left[2], right[2])]
    return np.vstack([joints, neck])[OF_COCO]


def _surest(people: list[np.ndarray]) -> np.ndarray:
    return max(people, key=lambda person: person[:, 2].sum())


def _check(person: np.ndarray, where: object) -> np.ndarray:
    if person.shape != (JOINTS, 3) or not (np.abs(person) < LARGEST).all():
        raise ValueError(
            f"{where}: keypoints must be 18 finite triples (x, y, visible), got {person.shape}."
        )
    return person


def _guarded(reader: Callable[[Path], Any], path: Path) -> Any:
    """Broken files fail with many kinds of error; each gets the file's name."""
    try:
        return reader(path)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as keypoints ({error!r:.200}): give {FORMATS}."
        ) from error
