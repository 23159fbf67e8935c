"""What a run tells: JSON lines always, TensorBoard when installed, one progress line."""

import importlib
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


class MetricWriter:
    """Appends ``{"step": ..., name: value}`` lines to ``metrics.jsonl`` below ``directory``."""

    def __init__(self, directory: Path, step: int):
        """Continues at ``step``: lines of later steps, left by a killed run, are dropped."""
        self._path = directory / "metrics.jsonl"
        kept = [line for line in read_lines(self._path) if line["step"] <= step]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(self._path)
        self._board = None
        if importlib.util.find_spec("tensorboardX"):
            board = importlib.import_module("tensorboardX")
            self._board = board.SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of one step."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def read_lines(path: Path) -> list[dict[str, float]]:
    """The entries of a ``metrics.jsonl``, up to one that was damaged, or cut short by a kill."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


class Progress:
    """Rate, time left and wait for data, from the first line on (so compilation counts apart)."""

    def __init__(self, label: str, steps: int):
        """Names the run and its last step."""
        self._label, self._steps, self._start, self._waited = label, steps, None, 0.0

    def watched(self, batches: Iterator[_T]) -> Iterator[_T]:
        """The same batches; how long each of them is waited for is added up."""
        begun = time.perf_counter()
        for batch in batches:
            self._waited += time.perf_counter() - begun
            yield batch
            begun = time.perf_counter()

    def line(self, step: int, values: Mapping[str, float]) -> str:
        """One line: label, step, rate, share of the time spent waiting for data, ETA, values."""
        now = time.perf_counter()
        if self._start is None:
            self._start, self._waited = (now, step), 0.0
        elapsed, done = now - self._start[0], step - self._start[1]
        pace, eta = " " * 25, "compiled"
        if done:
            pace = f"{done / elapsed:6.2f} steps/s  data {self._waited / elapsed:4.0%}"
            eta = f"{(self._steps - step) * elapsed / done:5.0f} s left"
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        width = len(str(self._steps))
        return f"{self._label:<22} {step:>{width}}/{self._steps}  {pace}  {eta:<12} {shown}"
