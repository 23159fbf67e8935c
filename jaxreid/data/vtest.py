"""A small real set: identity labels for ``vtest.avi``, the pedestrian video of OpenCV's samples.

The labels ship with this package, the video with Debian's ``opencv-doc``. One static camera filmed
it, so passages (walks of a person through the view) stand in for cameras; there is no camera style
to learn here. Ten people: A, D, E, H, J are for training, B, C, F, G, I for testing; every test
picture is a query and in the gallery.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

DEBIAN_PATH = "/usr/share/doc/opencv-doc/examples/data/vtest.avi"
TRAINING = "ADEHJ"
PER_TRACKLET = 8
MARGIN = 3  # pixels around a box


class Crop(NamedTuple):
    """One picture to cut out.

    Attributes:
        frame: number in the video, from 0.
        box: x, y, width, height in pixels.
        person: letter.
        passage: 0-based; stands in for the camera.
        tracklet: uninterrupted run of boxes.
    """

    frame: int
    box: tuple[int, int, int, int]
    person: str
    passage: int
    tracklet: int

    @property
    def name(self) -> str:
        """File name in Market-1501's manner: pids 1..10 for A..J, tracklet as last number."""
        pid = ord(self.person) - ord("A") + 1
        return f"{pid:04d}_c{self.passage + 1}s1_{self.frame:06d}_{self.tracklet:02d}.png"


def crops() -> list[Crop]:
    """The 480 crops: eight of every tracklet, evenly spaced in time."""
    labels = _labels()
    persons = sorted(labels["persons"])
    passage = {t: i for i, members in enumerate(labels["passages"]) for t in members}
    tracklets = defaultdict(list)
    for frame, x, y, w, h, tracklet, person in labels["rows"]:
        box = (x, y, w, h)
        tracklets[tracklet].append(Crop(frame, box, persons[person], passage[tracklet], tracklet))
    picked = []
    for _, run in sorted(tracklets.items()):
        picked += [run[i] for i in np.linspace(0, len(run) - 1, PER_TRACKLET).astype(int)]
    return picked


def write(root: Path | str, video: Path | str | None = None) -> None:
    """Writes the crops in the layout ``vtest``: Market-1501's folders, lossless PNG.

    Args:
        root: folder to be created.
        video: ``vtest.avi``; None looks where Debian installs it and else gets the package with
            ``apt-get download``.

    Raises:
        FileExistsError: ``root`` exists and is not empty.
        FileNotFoundError: no video.
        ValueError: another video.
        ModuleNotFoundError: OpenCV is not installed.
    """
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty: name a folder that does not exist yet.")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as scratch:
        source = Path(video) if video else _debian_video(Path(scratch))
        _require_video(source)
        built = Path(scratch) / "built"
        _write_crops(source, built)
        shutil.rmtree(root, ignore_errors=True)
        built.rename(root)


def _write_crops(video: Path, root: Path) -> None:
    folders = ("bounding_box_train", "bounding_box_test", "query")
    for folder in folders:
        (root / folder).mkdir(parents=True)
    wanted = defaultdict(list)
    for crop in crops():
        wanted[crop.frame].append(crop)
    for number, frame in enumerate(_frames(video)):
        for crop in wanted.pop(number, ()):
            x, y, w, h = crop.box
            top, left = max(0, y - MARGIN), max(0, x - MARGIN)
            picture = Image.fromarray(frame[top : y + h + MARGIN, left : x + w + MARGIN])
            for folder in folders[:1] if crop.person in TRAINING else folders[1:]:
                picture.save(root / folder / crop.name)
    if wanted:
        raise ValueError(f"{video}: the decoder stopped before frame {max(wanted)}.")


def _frames(video: Path) -> Iterator[np.ndarray]:
    """Frames in order: uint8 ``[576, 768, 3]`` RGB."""
    try:
        import cv2  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "OpenCV decodes the video and is not installed: "
            ".venv/bin/pip install -c constraints.txt -e '.[video]'"
        ) from error
    capture = cv2.VideoCapture(str(video))
    while (read := capture.read())[0]:
        yield np.ascontiguousarray(read[1][:, :, ::-1])


def _require_video(video: Path) -> None:
    if not video.is_file():
        raise FileNotFoundError(f"{video} does not exist: pass the path of vtest.avi.")
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    expected = _labels()["sha256"]
    if digest != expected:
        raise ValueError(
            f"{video} is not the labelled video: its SHA-256 is {digest}, expected {expected}. "
            "Take vtest.avi from Debian's opencv-doc 4.6.0."
        )


def _debian_video(folder: Path) -> Path:
    if Path(DEBIAN_PATH).is_file():
        return Path(DEBIAN_PATH)
    print("Getting Debian's package opencv-doc (96 MB) for its sample video ...", flush=True)
    try:
        subprocess.run(["apt-get", "download", "opencv-doc"], cwd=folder, check=True)
        package = next(folder.glob("opencv-doc_*.deb"))
        return _unpacked(package, folder)
    except (OSError, subprocess.CalledProcessError) as error:
        raise FileNotFoundError(
            f"No vtest.avi at {DEBIAN_PATH}, and apt-get could not download opencv-doc ({error}): "
            "run 'apt-get update' and try again, or pass the video's path (--video)."
        ) from error


def _unpacked(package: Path, folder: Path) -> Path:
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                if member.name.endswith(DEBIAN_PATH):
                    archive.extract(member, folder, filter="data")
                    process.terminate()
                    return folder / member.name
    raise FileNotFoundError(f"{package.name} does not hold {DEBIAN_PATH}.")


def _labels() -> dict[str, Any]:
    file = resources.files("jaxreid.data") / "assets" / "vtest_labels.json"
    return json.loads(file.read_text())
