"""Which rows make a batch: pure functions of (seed, step), and threads that load ahead.

No iterator state exists, so a run that was stopped and resumed draws the batches of a run that was
never stopped, and joint processes draw the same ones.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

Seed = int | tuple[int, ...]
Rows = TypeVar("Rows", np.ndarray, tuple[np.ndarray, np.ndarray])


@dataclass(frozen=True)
class Plan(Generic[Rows]):
    """The rows of every step: ``plan(step)``.

    Attributes:
        rows: pure function of the step, from 0 without an end.
        steps_per_epoch: steps that draw about as many pictures as the set holds.
    """

    rows: Callable[[int], Rows]
    steps_per_epoch: int

    def __call__(self, step: int) -> Rows:
        """Rows of one step."""
        return self.rows(step)


def shuffled(n: int, batch: int, seed: Seed) -> Plan[np.ndarray]:
    """Each epoch is a new permutation of ``n`` rows; its last, partial batch is dropped.

    Args:
        n: rows of the set.
        batch: rows per step, at most ``n``.
        seed: the permutation of an epoch depends on (seed, epoch) alone.

    Returns:
        A plan of int64 ``[batch]`` rows; step s belongs to epoch ``s // steps_per_epoch``.
    """
    _require(n, batch)
    steps = n // batch

    def rows(step: int) -> np.ndarray:
        epoch, position = divmod(step, steps)
        return _permutation(n, _tuple(seed), epoch)[position * batch :][:batch]

    return Plan(rows, steps)


def stream(n: int, batch: int, seed: Seed) -> Plan[np.ndarray]:
    """Permutation after permutation without a seam: no row is dropped at the end of an epoch.

    Step s takes the positions ``s * batch ... (s + 1) * batch - 1`` of the endless sequence. For
    generated pictures that accompany another set's epochs.

    Args:
        n: rows of the set.
        batch: rows per step, at most ``n``.
        seed: of the permutations.

    Returns:
        A plan of int64 ``[batch]`` rows.
    """
    _require(n, batch)

    def rows(step: int) -> np.ndarray:
        epoch, start = divmod(step * batch, n)
        head = _permutation(n, _tuple(seed), epoch)[start : start + batch]
        return np.concatenate([head, _permutation(n, _tuple(seed), epoch + 1)[: batch - len(head)]])

    return Plan(rows, n // batch)


def pk(labels: np.ndarray, p: int, k: int, seed: Seed) -> Plan[np.ndarray]:
    """P identities with K pictures each, for triplet losses.

    The identities of a step are distinct; a permutation of all of them is used up (but for fewer
    than P) before the next begins. An identity with fewer than K pictures repeats them evenly.

    Args:
        labels: int ``[n]``, identity of every row.
        p: identities per step.
        k: pictures per identity.
        seed: of identities and pictures.

    Returns:
        A plan of int64 ``[p * k]`` rows, the K pictures of an identity side by side. An epoch is
        ``n // (p * k)`` steps, so that schedules agree with those of ``shuffled``.

    References:
        Hermans et al., In Defense of the Triplet Loss, 2017.
    """
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    if len(groups) < p:
        raise ValueError(
            f"{p} identities per batch were asked for, but the set has only {len(groups)}: "
            "lower p or use a larger set."
        )
    identities = shuffled(len(groups), p, seed)

    def rows(step: int) -> np.ndarray:
        rng = np.random.default_rng((*_tuple(seed), 1, step))
        chosen = (groups[i] for i in identities(step))
        return np.concatenate([np.resize(rng.permutation(group), k) for group in chosen])

    return Plan(rows, max(1, len(labels) // (p * k)))


def unpaired(
    n_a: int, n_b: int, batch: int, seed: Seed, epoch: Callable[[int, int], int] = max
) -> Plan[tuple[np.ndarray, np.ndarray]]:
    """Two sets without correspondence: A shuffled and cyclic, B drawn at random.

    Args:
        n_a: rows of set A.
        n_b: rows of set B.
        batch: rows of each per step.
        seed: of both draws.
        epoch: ``max`` or ``min``: whether the larger or the smaller set sets the epoch.

    Returns:
        A plan of ``(rows_a, rows_b)``, int64 ``[batch]`` each.

    References:
        Zhu et al., CycleGAN, ICCV 2017 (the unaligned data set of the public code).
    """
    first = stream(n_a, batch, seed)
    _require(n_b, batch)

    def rows(step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((*_tuple(seed), 1, step))
        return first(step), rng.integers(n_b, size=batch)

    return Plan(rows, epoch(n_a, n_b) // batch)


def companions(
    real: Plan[np.ndarray],
    names: Sequence[str],
    made: tuple[Sequence[str], np.ndarray],
    groups: Sequence[Sequence[int]],
    *,
    each: int,
    steps: int,
    seed: Seed,
) -> Callable[[int], np.ndarray]:
    """Generated pictures that accompany the very real pictures they were made from.

    Args:
        real: plan of the real pictures.
        names: of the real pictures.
        made: of the generated pictures the name they were made from, and int ``[m]`` styles.
        groups: styles to draw from; group g joins at step ``steps * g / len(groups)``.
        each: generated pictures per real one; their styles differ while there are enough.
        steps: of the whole run.
        seed: of the draws.

    Returns:
        Step to int64 ``[each * batch]`` rows of generated pictures: one for every real picture, in
        their order, then the next for every one.

    Raises:
        ValueError: a real picture has none in a style of the first group.
    """
    sources, styles = made
    starts = [-(-steps * g // len(groups)) for g in range(len(groups))]
    rows_of: list[dict[str, list[int]]] = []
    for g in range(len(groups)):
        active = {style for group in groups[: g + 1] for style in group}
        found: dict[str, list[int]] = {}
        for row in np.flatnonzero(np.isin(styles, list(active))).tolist():
            found.setdefault(sources[row], []).append(row)
        rows_of.append(found)
    lonely = [name for name in names if name not in rows_of[0]]
    if lonely:
        raise ValueError(
            f"{len(lonely)} of {len(names)} real pictures have no generated one in the styles "
            f"{sorted(groups[0])}, the first is {lonely[0]}: name more styles in the first group"
        )

    def rows(step: int) -> np.ndarray:
        rng = np.random.default_rng((*_tuple(seed), step))
        found = rows_of[int(np.searchsorted(starts, step, side="right")) - 1]
        own = [found[names[int(row)]] for row in real(step)]
        chosen = [np.resize(rng.permutation(fakes), each) for fakes in own]
        return np.stack(chosen, axis=1).reshape(-1)

    return rows


def prefetch(
    batches: Callable[[int], dict[str, Any]],
    start: int,
    stop: int,
    workers: int = min(os.cpu_count() or 1, 8),
    ahead: int | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Loads the batches of ``start ... stop - 1`` in threads, in order.

    Args:
        batches: ``batches(step)``, thread-safe and a pure function of the step.
        start: first step.
        stop: one past the last step.
        workers: threads.
        ahead: batches that are loading or wait to be used, which bounds the memory; by default one
            more than ``workers``.

    Yields:
        ``(step, batch)``. An error in ``batches`` is raised here, with a note naming the step.
        Closing the iterator early cancels what has not begun.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    waiting: deque = deque()
    ahead = workers + 1 if ahead is None else ahead
    try:
        for step in range(start, stop + ahead):
            if step < stop:
                waiting.append((step, pool.submit(batches, step)))
            if waiting and (step >= start + ahead or step >= stop):
                ready, future = waiting.popleft()
                yield ready, _result(ready, future)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(step: int, future: Any) -> dict[str, Any]:
    try:
        return future.result()
    except Exception as error:
        error.add_note(f"This happened while loading the batch of step {step}.")
        raise


def _require(n: int, batch: int) -> None:
    if not 0 < batch <= n:
        raise ValueError(
            f"A batch of {batch} cannot be drawn from {n} pictures: "
            f"the batch size must be between 1 and {n}."
        )


def _tuple(seed: Seed) -> tuple[int, ...]:
    return seed if isinstance(seed, tuple) else (seed,)


@lru_cache(maxsize=64)
def _permutation(n: int, seed: tuple[int, ...], epoch: int) -> np.ndarray:
    order = np.random.default_rng((*seed, epoch)).permutation(n)
    order.flags.writeable = False
    return order
