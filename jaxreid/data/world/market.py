"""Writes a world as files in Market-1501's layout, and draws its pictures again in other styles."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import io
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxreid.data.pictures import decode
from jaxreid.data.world.body import Body
from jaxreid.data.world.cameras import Camera, sample_camera
from jaxreid.data.world.cloud import load_body
from jaxreid.data.world.moments import PERSON, SCENES, sample_moment
from jaxreid.data.world.people import sample_person
from jaxreid.data.world.planning import Plan, plan
from jaxreid.data.world.renderer import Picture, render, surfels_for
from jaxreid.data.world.spec import FOLDERS, KNOWN, OUTSIDER, TRAIN, Spec
from jaxreid.data.world.wardrobe import dress

_SPEC_FILE = "world.json"
_WORKERS = 2  # overlaps drawing with encoding, and fills cores that one picture leaves idle


def write(spec: Spec, root: str | Path, *, batch: int = 32) -> None:
    """Draws a whole world into ``root`` in Market-1501's official layout.

    ``root`` appears only when it is complete. The same specification gives the same bytes, whatever
    the batch. A ``root`` that already holds this very world is left as it is.

    Args:
        spec: what to draw.
        root: folder to make; holds ``bounding_box_train``, ``bounding_box_test``, ``query`` and
            ``world.json`` (the specification) afterwards.
        batch: pictures per device call.

    Raises:
        FileExistsError: ``root`` exists and holds something else.
    """
    root = Path(root)
    if root.exists():
        if (root / _SPEC_FILE).exists() and read_spec(root) == spec:
            return
        raise FileExistsError(
            f"{root} exists and does not hold this world: give another folder, or remove this one."
        )
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in FOLDERS:
        (partial / folder).mkdir(parents=True)
    table = plan(spec)
    quality = np.asarray(_cameras(spec).quality)
    pictures = _draw_all(spec, table, np.arange(len(table.names)), table.camera, batch)
    start = time.monotonic()
    for row, picture in enumerate(pictures):
        path = partial / FOLDERS[table.folder[row]] / table.names[row]
        path.write_bytes(_jpeg(np.asarray(picture.image), int(quality[table.camera[row]])))
        if (row + 1) % 1000 == 0 or row + 1 == len(table.names):
            _report(row + 1, len(table.names), time.monotonic() - start)
    text = json.dumps({"spec": dataclasses.asdict(spec)}, indent=2)
    (partial / _SPEC_FILE).write_text(text + "\n")
    partial.rename(root)


def read_spec(root: str | Path) -> Spec:
    """Reads the specification of the world in ``root``.

    Raises:
        FileNotFoundError: ``root`` is not a world that :func:`write` made.
    """
    path = Path(root) / _SPEC_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {root} is not a synthetic world made by write()."
        )
    return Spec(**json.loads(path.read_text())["spec"])


def restyle(root: str | Path, names: Sequence[str], cameras: Sequence[int]) -> np.ndarray:
    """The oracle translation: pictures as other cameras would have taken them.

    Person, gait, place, box and obstruction stay; viewpoint, scene, light and sensor are those of
    the other camera. A picture's own camera gives that picture before JPEG compression.

    Args:
        root: a world made by :func:`write`.
        names: file names in it.
        cameras: 0-based target camera of each.

    Returns:
        uint8 [n, H, W, 3].

    Raises:
        ValueError: an unknown name, a camera that does not exist, or lengths that differ.
    """
    spec = read_spec(root)
    table, rows = _lookup(spec, names)
    targets = np.asarray(cameras, np.int32)
    if targets.shape != rows.shape or not ((targets >= 0) & (targets < spec.cameras)).all():
        raise ValueError(
            f"cameras must hold one number from 0 to {spec.cameras - 1} for each of the "
            f"{len(rows)} names, got {list(cameras)[:8]} ..."
        )
    return _stack(spec, (p.image for p in _draw_all(spec, table, rows, targets)), np.uint8, 3)


def outsiders(root: str | Path, start: int, count: int) -> np.ndarray:
    """Pictures of people who are in no folder of a world, a new person in each.

    They are taken as those of known people are, by every camera in turn, and compressed alike.

    Args:
        root: a world made by :func:`write`.
        start: number of the first; each number is a picture, whatever is drawn beside it.
        count: how many.

    Returns:
        uint8 [count, H, W, 3].
    """
    spec = read_spec(root)
    shot, camera = np.divmod(np.arange(start, start + count, dtype=np.int32), spec.cameras)
    same = functools.partial(np.full, count, dtype=np.int32)
    folder, stream, pid, kind = same(TRAIN), same(OUTSIDER), same(0), same(PERSON)
    table = Plan((), folder, stream, pid, camera, shot, shot % SCENES, kind)
    quality = np.asarray(_cameras(spec).quality)[camera]
    drawn = _draw_all(spec, table, np.arange(count), camera)
    files = (_jpeg(np.asarray(p.image), int(q)) for p, q in zip(drawn, quality, strict=True))
    return _stack(spec, (decode(f, (spec.height, spec.width)) for f in files), np.uint8, 3)


def truth(root: str | Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Exact foreground masks and keypoints of written pictures.

    Args:
        root: a world made by :func:`write`.
        names: file names in it.

    Returns:
        Masks, uint8 [n, H, W], 1 on the person; keypoints, float32 [n, 18, 3]: x, y in pixels and
        1 where visible, in COCO/OpenPose-18 order.

    Raises:
        ValueError: an unknown name.
    """
    spec = read_spec(root)
    table, rows = _lookup(spec, names)
    pictures = list(_draw_all(spec, table, rows, table.camera[rows]))
    masks = _stack(spec, (p.mask for p in pictures), np.uint8)
    return masks, np.array([p.keypoints for p in pictures], np.float32).reshape(-1, 18, 3)


def _stack(spec: Spec, images: Iterator, dtype: type, *channels: int) -> np.ndarray:
    return np.array(list(images), dtype).reshape(-1, spec.height, spec.width, *channels)


def _lookup(spec: Spec, names: Sequence[str]) -> tuple[Plan, np.ndarray]:
    table = plan(spec)
    row_of = {name: row for row, name in enumerate(table.names)}
    unknown = [name for name in names if name not in row_of]
    if unknown:
        raise ValueError(
            f"{unknown[0]!r} ({len(unknown)} of {len(names)} names) is no picture of this world: "
            "give bare file names such as those in bounding_box_train."
        )
    return table, np.array([row_of[name] for name in names], np.int32)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _report(done: int, total: int, seconds: float) -> None:
    speed = done / max(seconds, 1e-6)
    left = (total - done) / speed
    print(f"world: {done}/{total} pictures, {speed:.0f}/s, {left:.0f} s left", file=sys.stderr)


@functools.lru_cache(maxsize=4)
def _cameras(spec: Spec) -> Camera:
    """All cameras of a world, stacked."""
    root = jax.random.fold_in(jax.random.key(spec.seed), 1)
    keys = jax.random.split(jax.random.fold_in(root, spec.city), spec.cameras)
    draw = functools.partial(sample_camera, city=spec.city, strength=spec.strength)
    return jax.jit(jax.vmap(draw))(keys)


def _draw_all(
    spec: Spec, table: Plan, rows: np.ndarray, cameras: np.ndarray, batch: int = 32
) -> Iterator[Picture]:
    """Pictures of ``rows`` as seen by ``cameras``, in order; images are uint8 on the host."""
    body = jax.tree.map(jnp.asarray, load_body(surfels_for(spec.height, spec.width)))
    everything = _cameras(spec)
    root = jax.random.key(spec.seed)
    look = (spec.height, spec.width, spec.city, spec.colourful)
    fields = [getattr(table, name) for name in ("stream", "pid", "camera", "shot", "scene", "kind")]

    def draw(start: int) -> list[Picture]:
        part = np.arange(start, min(start + batch, len(rows)))
        padded = np.resize(part, batch)  # one compiled program serves every batch
        shots = [np.asarray(field)[rows[padded]] for field in fields] + [cameras[padded]]
        pictures = jax.device_get(_draw(body, everything, root, *shots, look=look))
        return [jax.tree.map(lambda leaf, i=i: leaf[i], pictures) for i in range(len(part))]

    with concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
        waiting: collections.deque[concurrent.futures.Future[list[Picture]]] = collections.deque()
        for start in range(0, len(rows), batch):
            waiting.append(pool.submit(draw, start))
            if len(waiting) > _WORKERS:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


@functools.partial(jax.jit, static_argnames="look")
def _draw(
    body: Body,
    cameras: Camera,
    root: jax.Array,
    *shots: jax.Array,
    look: tuple[int, int, int, float],
) -> Picture:
    """Draws a batch; picture after picture, so that no result depends on its neighbours."""
    height, width, city, colourful = look
    keys = jax.vmap(functools.partial(_keys, root))(*shots[:4])

    person = functools.partial(sample_person, city=city, colourful=colourful)

    def one(args: tuple) -> Picture:
        who, (camera, scene, kind, viewer), key = args
        own, seen_by = (jax.tree.map(lambda leaf, i=i: leaf[i], cameras) for i in (camera, viewer))
        moment = sample_moment(key["moment"], key["visit"], scene=scene, path=own.path, kind=kind)
        size = {"height": height, "width": width}
        picture = render(body, who, person(key["passer"]), moment, seen_by, key["noise"], **size)
        pixels = jnp.round((picture.image + 1) * 127.5).astype(jnp.uint8)
        return picture._replace(image=pixels)

    # Figures are made for the whole batch first: XLA would otherwise fuse dressing into posing and
    # repeat it for every coordinate.
    who = jax.lax.map(lambda key: dress(person(key), body), keys["who"])
    return jax.lax.map(one, (who, (shots[2], *shots[4:]), keys))


def _keys(
    root: jax.Array, stream: jax.Array, pid: jax.Array, camera: jax.Array, shot: jax.Array
) -> dict[str, jax.Array]:
    """The random keys of one picture; those of a known person's looks depend on the pid alone."""
    known = stream == KNOWN
    visit = functools.reduce(jax.random.fold_in, (3, stream, pid, camera), root)
    picture = jax.random.fold_in(visit, shot)
    own, passer, moment, noise = jax.random.split(picture, 4)
    who = jnp.where(known, jax.random.fold_in(jax.random.fold_in(root, 2), pid), own)
    visit = jnp.where(known, visit, picture)
    return {"who": who, "passer": passer, "visit": visit, "moment": moment, "noise": noise}
