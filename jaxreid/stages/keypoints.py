"""Keypoints of people on photographs, by a network that was trained to find their joints.

``python -m jaxreid.stages.keypoints ROOT`` writes ``ROOT/keypoints.npz``, which
``--config.data.keypoints=root`` reads, and ``ROOT/keypoints_sheet.png``, which shows some of the
skeletons: look at it before training. What is there is not made again, so an interrupted command
can be given again; until all pictures are done they are kept in ``ROOT/.keypoints.partial.npz``.
It needs the extra ``masks`` and a network (``jaxreid/nets/person.py``); both are named if they are
missing.

The network knows 33 landmarks, which become the 18 joints of COCO/OpenPose: the neck is the middle
of the shoulders. A joint counts as visible where the network is sure enough of it, but for the face
of people whose backs are seen: the network is always sure of that. A picture on which it finds
nobody keeps its place in the file without any joint.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxreid.data import keypoint_files
from jaxreid.data.augment import to_uint8
from jaxreid.data.keypoints import FILE, NOBODY, to_pixels, to_shares
from jaxreid.data.poses import draw
from jaxreid.data.scanning import shortened
from jaxreid.nets import person
from jaxreid.report import figures
from jaxreid.stages import photographs
from jaxreid.stages.poses import has_torso

# MediaPipe's landmarks in the order of COCO/OpenPose-18; the neck is not among them.
SHOULDERS, HIPS = (12, 11), (24, 23)  # right before left
NECK, FACE = 1, (0, 14, 15)  # nose and eyes
OF_33 = np.array([0, 0, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7])
THRESHOLD = 0.5  # of the probability that a joint is visible
SOMEBODY = 0.5  # of the score of the person
BEHIND = 0.25  # right shoulder and hip are that far to the right of left ones, in torso lengths
SHOWN = 24  # pictures on the sheet
LARGE = (256, 128)  # how large


class Made(NamedTuple):
    """What came of one picture: keypoints ``[18, 3]``, or what is wrong with the file."""

    picture: Path
    keypoints: np.ndarray = NOBODY
    problem: str = ""


def joints(pose: person.Pose, size: tuple[int, int], threshold: float) -> np.ndarray:
    """The 18 joints of a pose on a picture of ``size`` (height, width).

    Returns:
        float32 ``[18, 3]``: x and y in pixels, then the probability that the joint is visible; all
        zeros where that is below ``threshold``, where the joint lies outside of the picture, and
        for nose and eyes of people seen from behind. The neck is as sure as the less sure shoulder.
        Nothing is visible where nobody is found.
    """
    found = pose.landmarks[OF_33]
    shoulders = pose.landmarks[list(SHOULDERS)]
    found[NECK] = [*shoulders[:, :2].mean(0), shoulders[:, 2].min()]
    inside = np.all((found[:, :2] >= -0.5) & (found[:, :2] < np.array(size[::-1]) - 0.5), axis=1)
    shown = inside & (found[:, 2] >= threshold) & (pose.score >= SOMEBODY)
    shown[list(FACE)] &= not _from_behind(pose.landmarks[:, :2])
    return found * shown[:, None]


def make(landmarks: person.Landmarker, threshold: float, picture: Path) -> Made:
    """The keypoints of one picture."""
    try:
        pixels = photographs.read(picture)
    except OSError as error:
        return Made(picture, problem=str(error))
    height, width = pixels.shape[:2]
    return Made(picture, joints(landmarks(pixels), (height, width), threshold))


def write(
    root: Path,
    found: Sequence[Path],
    file: Path,
    landmarks: person.Landmarker,
    *,
    threshold: float = THRESHOLD,
    batch: int = 64,
) -> tuple[dict[str, np.ndarray], list[Made]]:
    """Finds the keypoints that are missing, ``batch`` pictures at a time; says how far it is.

    After every batch those there are lie in a file beside ``file``, which appears when no picture
    is left.

    Returns:
        Keypoints of all pictures by their path below ``root``, and what was made now.

    Raises:
        ValueError: those there were made with another threshold.
    """
    part = file.with_name(f".{file.stem}.partial.npz")
    before = next((path for path in (part, file) if path.is_file()), None)
    people = keypoint_files.read(before).people if before else {}
    known = keypoint_files.threshold_of(before) if before else None
    if known not in (None, threshold):
        raise ValueError(
            f"--threshold is {threshold}, but {before} was made with {known}: move it away, or "
            "write another file (--keypoints)"
        )
    names = {path: path.relative_to(root).as_posix() for path in found}
    missing = [path for path in found if names[path] not in people]
    print(f"{len(found):,} pictures, {len(found) - len(missing):,} have keypoints", flush=True)
    made: list[Made] = []
    for some in photographs.in_batches(partial(make, landmarks, threshold), missing, batch):
        people |= {names[each.picture]: each.keypoints for each in some if not each.problem}
        made += some
        _save(part, people, threshold)
    if part.is_file():
        part.replace(file)
    return people, made


def sheet(root: Path, found: Sequence[Path], people: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pictures spread evenly over all, each beside its skeleton."""
    names = {path: path.relative_to(root).as_posix() for path in found}
    picked = photographs.spread([path for path in found if names[path] in people], SHOWN)
    pixels = np.stack([photographs.read(path, LARGE) for path in picked])
    shares = [to_shares(people[names[path]], photographs.size(path)) for path in picked]
    bones = np.asarray(to_uint8(draw(jnp.asarray(to_pixels(np.stack(shares), LARGE)), LARGE)))
    over = np.where(bones.any(-1, keepdims=True), bones, pixels // 2)
    rows = photographs.side_by_side([*np.stack([pixels, over], axis=1)], across=4)
    return figures.grid(rows, col_labels=["picture", "pose"] * 4)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 if something went wrong."""
    parser = photographs.parser("python -m jaxreid.stages.keypoints", __doc__)
    parser.add_argument("--keypoints", type=Path, help=f"file to write; default ROOT/{FILE}")
    sure = f"probability from which a joint is visible, {THRESHOLD} if not given"
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help=sure)
    flags = parser.parse_args(argv)
    file = flags.keypoints or flags.root / FILE
    shown = file.with_name(f"{file.stem}_sheet.png")
    try:
        _require(file, flags.threshold)
        landmarks = person.landmarker(flags.network)
        found = photographs.pictures(flags.root, {shown}, flags.layout)
        options = {"threshold": flags.threshold, "batch": flags.batch}
        people, made = write(flags.root, found, file, landmarks, **options)
        bad = [f"{each.picture} ({each.problem})" for each in made if each.problem]
        if any(path.relative_to(flags.root).as_posix() in people for path in found):
            figures.write_png(shown, sheet(flags.root, found, people))
            print(f"look at {shown}")
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in _doubts(made):
        print(line)
    if bad:
        lines = [f"error: {len(bad):,} pictures have no keypoints:", *bad]
        print("\n".join(lines), file=sys.stderr)
    return int(bool(bad))


def _require(file: Path, threshold: float) -> None:
    if file.suffix != ".npz":
        raise ValueError(f"--keypoints is {file}: the format written is NAME.npz")
    if not 0 < threshold <= 1:
        raise ValueError(f"--threshold is {threshold}: a probability above 0, at most 1")


def _save(path: Path, people: Mapping[str, np.ndarray], threshold: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".tmp")
    points = np.array([*people.values()]).reshape(-1, 18, 3)
    keypoint_files.write(whole, list(people), points, threshold)
    whole.replace(path)


def _from_behind(places: np.ndarray) -> bool:
    """Whether the torso of landmarks ``[33, 2]`` shows its back: its right side lies to the right.

    Of the world's people whose nose is hidden two in three do, of the others one in twenty.
    """
    right, left = (places[list(side)] for side in zip(SHOULDERS, HIPS, strict=True))
    length = np.linalg.norm(((right + left) / 2)[0] - ((right + left) / 2)[1])
    return bool((right - left)[:, 0].mean() > BEHIND * length)


def _doubts(made: Iterable[Made]) -> list[str]:
    """A line about pictures without anybody, and one about people without a torso."""
    done = [each for each in made if not each.problem]
    nobody = [each for each in done if not each.keypoints[:, 2].any()]
    some = [each for each in done if each.keypoints[:, 2].any() and not has_torso(each.keypoints)]
    odd = {"show nobody": nobody, "show no torso, so that canonical poses pass them over": some}
    return [
        f"{len(those):,} pictures {what}: {shortened([str(each.picture) for each in those])}"
        for what, those in odd.items()
        if those
    ]


if __name__ == "__main__":
    sys.exit(main())
