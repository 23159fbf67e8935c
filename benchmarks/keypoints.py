"""How well the packaged network finds joints: its keypoints beside the world's true ones.

python -m benchmarks.keypoints [--identities=60] [--height=128] [--threshold=0.5]

Needs the extra ``masks`` and the network, see ``jaxreid/stages/keypoints.py``. PCK@r is the share
of the truly visible joints that are shown within r pixels of a picture 128 high (a head is about
16); one that is not shown counts as missed. Swapped: pictures whose limbs lie nearer to the true
ones when left and right are exchanged.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxreid.data import keypoint_files, poses, world
from jaxreid.data.keypoints import FILE
from jaxreid.nets import person
from jaxreid.stages import keypoints

WITHIN = (3, 6, 10)  # pixels of a picture 128 high
PARTS = {
    "all": tuple(range(18)),
    "head": (0, 14, 15, 16, 17),
    "shoulders": (2, 5),
    "elbows": (3, 6),
    "wrists": (4, 7),
    "hips": (8, 11),
    "knees": (9, 12),
    "ankles": (10, 13),
}
LIMBS = range(2, 14)


def main() -> None:
    """Draws both cities and prints how near and how often joints are found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--identities", type=int, default=60, help="training people of each city")
    parser.add_argument("--height", type=int, default=128, help="of the pictures, twice the width")
    parser.add_argument("--threshold", type=float, default=keypoints.THRESHOLD)
    flags = parser.parse_args()
    for city in (0, 1):
        true, found, rate = _poses(flags, city)
        nobody = ~(found[..., 2] > 0).any(1)
        print(
            f"city {city}: {len(found)} pictures, {rate:.0f} a second, nobody on {nobody.sum()}, "
            f"swapped {_swapped(true, found).mean():.1%}"
        )
        limits = "".join(f"{f'PCK@{limit}':>8}" for limit in WITHIN)
        print(f"  joints   {limits}  shown of visible  shown of hidden  median px")
        for name, joints in PARTS.items():
            print(f"  {name:9}{_row(true[:, joints], found[:, joints], flags.height)}")


def _poses(flags: argparse.Namespace, city: int) -> tuple[np.ndarray, np.ndarray, float]:
    """True and found keypoints ``[n, 18, 3]`` of a new world, and pictures per second."""
    size = {"height": flags.height, "width": flags.height // 2}
    few = {"test_identities": 2, "distractors": 0, "junk": 0}
    # Seeds that no demo and no evidence draws.
    people = {"train_identities": flags.identities, "seed": 900 + city, "city": city}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "world"
        world.write(world.Spec(**size, **few, **people), root, keypoints=True)
        pictures = sorted((root / "bounding_box_train").iterdir())
        landmarks, start = person.landmarker(), time.perf_counter()
        made = [keypoints.make(landmarks, flags.threshold, path).keypoints for path in pictures]
        rate = len(made) / (time.perf_counter() - start)
        true = keypoint_files.read(root / FILE).people
        names = [path.relative_to(root).as_posix() for path in pictures]
    return np.array([true[name] for name in names]), np.array(made), rate


def _row(true: np.ndarray, found: np.ndarray, height: int) -> str:
    """One line of the table, of some of the joints."""
    away = np.linalg.norm(found[..., :2] - true[..., :2], axis=-1) * 128 / height
    visible, shown = true[..., 2] > 0, found[..., 2] > 0
    near = "".join(f"{(shown & (away < r))[visible].mean():8.1%}" for r in WITHIN)
    return (
        f"{near}{shown[visible].mean():18.1%}{shown[~visible].mean():17.1%}"
        f"{np.median(away[visible & shown]):11.1f}"
    )


def _swapped(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Whether limbs lie nearer to the true ones of the other side."""
    other = true[:, list(poses.MIRRORED)]
    shown = (found[..., 2] > 0)[:, LIMBS]

    def away(points: np.ndarray) -> np.ndarray:
        gaps = np.linalg.norm(found[..., :2] - points[..., :2], axis=-1)[:, LIMBS]
        return (gaps * shown).sum(1)

    return away(other) < away(true)


if __name__ == "__main__":
    main()
