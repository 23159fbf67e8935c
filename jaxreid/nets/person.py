"""Where is the person on a photograph, and how do they stand? MediaPipe's pose network, by LiteRT.

`pose_landmark_full` (BlazePose: Bazarevsky et al., "BlazePose: On-device Real-time Body Pose
Tracking", 2020, with the mask that later releases added) looks at one person in a square RGB crop.
Its file comes out of a package, `python -m jaxreid.nets.weights.fetch pose_landmark_full`, and the
runtime with `pip install -e '.[masks]'`. No other module needs either.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxreid.nets import weights
from jaxreid.nets.weights import fetch

NAME = "pose_landmark_full"
SIDE = 256  # of the crop and of the mask
ROOM = 1.25  # side of the crop over the longer side of the picture: best of 1, 1.25, 1.5
LANDMARKS = 33  # of the body; six more help MediaPipe to cut out the next frame of a video

# Shapes, by which outputs are known: a file may list them in any order.
SCORE, POINTS, MASK = (1, 1), (1, (LANDMARKS + 6) * 5), (1, SIDE, SIDE, 1)

Shape = tuple[int, ...]
Outputs = dict[Shape, np.ndarray]
Run = Callable[[np.ndarray], Outputs]  # crop, float32 [256, 256, 3] in [0, 1], to all outputs
Segmenter = Callable[[np.ndarray], np.ndarray]


class Pose(NamedTuple):
    """How a person stands.

    Attributes:
        score: in [0, 1], how surely there is one.
        landmarks: float32 ``[33, 3]`` in MediaPipe's order: x and y in pixels of the picture,
            (0, 0) in the middle of the first one, and the probability that the point is visible.
    """

    score: float
    landmarks: np.ndarray


Landmarker = Callable[[np.ndarray], Pose]


class Square(NamedTuple):
    """The crop around a picture ``[H, W]``: a square with the picture in its middle."""

    side: int
    top: int
    left: int

    @classmethod
    def around(cls, height: int, width: int) -> "Square":
        """The one that the network is shown."""
        side = round(ROOM * max(height, width))
        return cls(side, (side - height) // 2, (side - width) // 2)


def segmenter(path: str | Path | None = None) -> Segmenter:
    """A function from a picture of one person, uint8 ``[H, W, 3]`` RGB, to float32 ``[H, W]``.

    Its values in [0, 1] are the probabilities that a pixel shows the person. It may be called from
    several threads; every thread has a copy of the network.

    Args:
        path: the network, by default where `fetch` writes it.

    Raises:
        FileNotFoundError: there is no such file; the message names the command that gets it.
        ModuleNotFoundError: the runtime is not installed; the message names what installs it.
        ValueError: the file holds something else.
    """
    run = _network(path)
    return lambda picture: _segment(run, picture)


def landmarker(path: str | Path | None = None) -> Landmarker:
    """A function from a picture of one person, uint8 ``[H, W, 3]`` RGB, to a `Pose`.

    Threads, arguments and errors are as those of `segmenter`.
    """
    run = _network(path)
    return lambda picture: _find(run, picture)


def _network(path: str | Path | None) -> Run:
    place = Path(path or fetch.directory() / f"{NAME}.npz")
    if not place.is_file():
        raise FileNotFoundError(
            f"There is no file '{place}': run 'python -m jaxreid.nets.weights.fetch {NAME}', or "
            "name another."
        )
    try:
        from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The LiteRT runtime runs the network and is not installed: "
            ".venv/bin/pip install -c constraints.txt -e '.[masks]'"
        ) from error
    model = weights.read(place).get("tflite")
    if model is None:
        raise ValueError(f"'{place}' does not hold the network {NAME}.")
    own, content = threading.local(), model.tobytes()

    def run(crop: np.ndarray) -> Outputs:
        if not hasattr(own, "net"):
            own.net = Interpreter(model_content=content, num_threads=1)
            own.net.allocate_tensors()
        return _outputs(own.net, crop)

    return run


def _outputs(net: Any, crop: np.ndarray) -> Outputs:
    net.set_tensor(net.get_input_details()[0]["index"], crop[None])
    net.invoke()
    details = {tuple(d["shape"].tolist()): d["index"] for d in net.get_output_details()}
    return {shape: net.get_tensor(details[shape]) for shape in (SCORE, POINTS, MASK)}


def _segment(run: Run, picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    square = Square.around(height, width)
    found = _probability(run(_crop(picture, square))[MASK][0, :, :, 0])
    whole = Image.fromarray(found).resize((square.side, square.side), Image.Resampling.BILINEAR)
    return np.asarray(whole)[square.top : square.top + height, square.left : square.left + width]


def _find(run: Run, picture: np.ndarray) -> Pose:
    square = Square.around(*picture.shape[:2])
    outputs = run(_crop(picture, square))
    points = outputs[POINTS].reshape(-1, 5)[:LANDMARKS]  # x, y, depth, visible, in the crop
    places = points[:, :2] * (square.side / SIDE) - (square.left + 0.5, square.top + 0.5)
    landmarks = np.column_stack([places, _probability(points[:, 3])]).astype(np.float32)
    return Pose(float(outputs[SCORE][0, 0]), landmarks)


def _crop(picture: np.ndarray, square: Square) -> np.ndarray:
    """The picture in the middle of its square, its border repeated around it, as large as asked."""
    (height, width), (side, top, left) = picture.shape[:2], square
    around = ((top, side - height - top), (left, side - width - left), (0, 0))
    whole = Image.fromarray(np.pad(picture, around, mode="edge"))
    return np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255


def _probability(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))), np.float32)
