"""How well the packaged network finds people: its masks beside the world's true ones.

python -m benchmarks.masks [--identities=60] [--height=128]

Needs the extra ``masks`` and the network, see ``jaxreid/stages/masks.py``.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from jaxreid.data import world
from jaxreid.data.masks import mask_path
from jaxreid.nets import person
from jaxreid.stages import masks


def main() -> None:
    """Draws both cities and prints the intersection over union of masks with the true ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--identities", type=int, default=60, help="training people of each city")
    parser.add_argument("--height", type=int, default=128, help="of the pictures, twice the width")
    flags = parser.parse_args()
    segment = person.segmenter()
    print("city  pictures  IoU mean (sd)    5 %  median  pictures/s")
    for city in (0, 1):
        size = {"height": flags.height, "width": flags.height // 2}
        few = {"test_identities": 2, "distractors": 0, "junk": 0}
        # Seeds that no demo and no evidence draws.
        people = {"train_identities": flags.identities, "seed": 900 + city, "city": city}
        with tempfile.TemporaryDirectory() as folder:
            root, made = Path(folder) / "world", Path(folder) / "made"
            world.write(world.Spec(**size, **few, **people), root, masks=True)
            start = time.perf_counter()
            found = sorted((root / "bounding_box_train").iterdir())
            for path in found:
                masks.make(root, made, segment, path)
            rate = len(found) / (time.perf_counter() - start)
            over = np.array([_overlap(path, root, made) for path in found])
        print(
            f"{city:4} {len(found):9}  {over.mean():.3f} ({over.std(ddof=1):.3f})  "
            f"{np.percentile(over, 5):5.3f}   {np.median(over):5.3f} {rate:11.0f}"
        )


def _overlap(picture: Path, root: Path, made: Path) -> float:
    """Intersection over union of the true mask and the other."""
    with (
        Image.open(mask_path(picture, root, root / "masks")) as true,
        Image.open(mask_path(picture, root, made)) as found,
    ):
        ours, theirs = (np.asarray(image.convert("L")) > 127 for image in (found, true))
    return float((ours & theirs).sum() / max(1, (ours | theirs).sum()))


if __name__ == "__main__":
    main()
