"""Which pixels show the person? MediaPipe's pose network, run by the LiteRT runtime.

`pose_landmark_full` (BlazePose: Bazarevsky et al., "BlazePose: On-device Real-time Body Pose
Tracking", 2020, with the mask that later releases added) looks at one person in a square RGB crop.
Its file comes out of a package, `python -m jaxreid.nets.weights.fetch pose_landmark_full`, and the
runtime with `pip install 'jaxreid[masks]'`. No other module needs either.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxreid.nets import weights
from jaxreid.nets.weights import fetch

NAME = "pose_landmark_full"
SIDE = 256  # of the crop and of the mask
ROOM = 1.25  # side of the crop over the longer side of the picture: best of 1, 1.25, 1.5

Segmenter = Callable[[np.ndarray], np.ndarray]


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
            "The LiteRT runtime runs the network and is not installed: pip install 'jaxreid[masks]'"
        ) from error
    model = weights.read(place).get("tflite")
    if model is None:
        raise ValueError(f"'{place}' does not hold the network {NAME}.")
    own, content = threading.local(), model.tobytes()

    def segment(picture: np.ndarray) -> np.ndarray:
        if not hasattr(own, "net"):
            own.net = Interpreter(model_content=content, num_threads=1)
            own.net.allocate_tensors()
        return _segment(lambda crop: _logits(own.net, crop), picture)

    return segment


def _segment(logits: Callable[[np.ndarray], np.ndarray], picture: np.ndarray) -> np.ndarray:
    """The picture in the middle of a square, its border repeated around it, and back."""
    height, width = picture.shape[:2]
    side = round(ROOM * max(height, width))
    top, left = (side - height) // 2, (side - width) // 2
    around = ((top, side - height - top), (left, side - width - left), (0, 0))
    square = Image.fromarray(np.pad(picture, around, mode="edge"))
    crop = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255
    found = 1 / (1 + np.exp(-np.clip(logits(crop), -50, 50)))
    mask = Image.fromarray(found).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(mask)[top : top + height, left : left + width]


def _logits(net: Any, crop: np.ndarray) -> np.ndarray:
    """The mask among the outputs is the one as large as the crop."""
    net.set_tensor(net.get_input_details()[0]["index"], crop[None])
    net.invoke()
    (mask,) = (d for d in net.get_output_details() if d["shape"].tolist() == [1, SIDE, SIDE, 1])
    return net.get_tensor(mask["index"])[0, :, :, 0].astype(np.float32)
