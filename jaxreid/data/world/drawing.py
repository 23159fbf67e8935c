"""Draws rows of a plan: many pictures in order, by one program, whatever is drawn beside them."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world.body import Body
from jaxreid.data.world.cameras import RESPONSE, Camera, sample_camera
from jaxreid.data.world.cloud import load_body
from jaxreid.data.world.infrared import sample_fabrics, unveil
from jaxreid.data.world.keys import picture_keys
from jaxreid.data.world.moments import POSE, sample_moment
from jaxreid.data.world.people import Person, sample_person
from jaxreid.data.world.planning import Plan
from jaxreid.data.world.renderer import Picture, render, surfels_for
from jaxreid.data.world.spec import KNOWN, REGDB, SYSU, VISIBLE, Spec
from jaxreid.data.world.wardrobe import dress

_BATCH = 32  # pictures per call; a program for another number may round otherwise
_WORKERS = 2  # overlaps drawing with encoding, and fills cores that one picture leaves idle


@functools.lru_cache(maxsize=4)
def cameras_of(spec: Spec) -> Camera:
    """All cameras of a world, stacked."""
    root = jax.random.fold_in(jax.random.key(spec.seed), 1)
    keys = jax.random.split(jax.random.fold_in(root, spec.city), spec.cameras)
    draw = functools.partial(sample_camera, city=spec.city, strength=spec.strength)
    return _mounted(spec, jax.jit(jax.vmap(draw))(keys))


def _mounted(spec: Spec, cameras: Camera) -> Camera:
    """Stands RegDB's two cameras side by side, and SYSU-MM01's 2 and 3 in one room.

    People walk more nearly towards RegDB's or away from them, as its file names say.
    """
    if spec.layout == SYSU:
        room = jax.tree.map(lambda leaf: leaf.at[2].set(leaf[1]), cameras.scenes)
        return cameras._replace(scenes=room)
    if spec.layout == REGDB:
        rig = jax.tree.map(lambda leaf: leaf[np.array(spec.rigs)], cameras)
        own = {name: getattr(cameras, name) for name in RESPONSE}
        return rig._replace(path=0.35 * rig.path, **own)
    return cameras


def draw_all(
    spec: Spec,
    table: Plan,
    rows: np.ndarray,
    cameras: np.ndarray,
    *,
    seen_by: Spec | None = None,
    poses: np.ndarray | None = None,
) -> Iterator[Picture]:
    """Pictures of ``rows`` as seen by ``cameras``, in order; images are uint8 on the host.

    Args:
        spec: whose people these are.
        table: its plan.
        rows: [n] positions in the plan.
        cameras: [n] who looks.
        seen_by: whose cameras look; None means ``spec``.
        poses: [n] positions in the plan of the pictures in whose pose people stand; None means
            ``rows``.

    Yields:
        Pictures, image uint8 [H, W, 3].
    """
    body = jax.tree.map(jnp.asarray, load_body(surfels_for(spec.height, spec.width)))
    paths, viewers = cameras_of(spec).path, cameras_of(seen_by or spec)
    root = jax.random.key(spec.seed)
    look = (spec.height, spec.width, spec.city, spec.colourful)
    # people visit a mount, whichever of its cameras looks; strangers come for one picture
    mounts = np.where(table.stream == KNOWN, np.array(spec.rigs)[table.camera], table.camera)
    visits = table._replace(camera=mounts.astype(np.int32))
    fields = [
        getattr(visits, name) for name in ("stream", "pid", "camera", "shot", "scene", "kind")
    ]
    posed = rows if poses is None else poses
    sees = np.array((seen_by or spec).modalities)[cameras]

    def draw(part: np.ndarray) -> list[Picture]:
        padded = np.resize(part, _BATCH)  # one compiled program serves every batch
        shots = [np.asarray(field)[rows[padded]] for field in fields] + [cameras[padded]]
        shots += [np.asarray(field)[posed[padded]] for field in fields[:4]]
        seen = {"look": look, "modality": str(sees[part[0]])}
        pictures = jax.device_get(_draw(body, paths, viewers, root, *shots, **seen))
        return [jax.tree.map(lambda leaf, i=i: leaf[i], pictures) for i in range(len(part))]

    batches = _batches(sees)
    turn, early = 0, {}  # pictures of one modality may be drawn before their turn
    for part, pictures in zip(batches, _overlapped(draw, batches), strict=True):
        early.update(zip(part.tolist(), pictures, strict=True))
        while turn in early:
            yield early.pop(turn)
            turn += 1


def _batches(sees: np.ndarray) -> list[np.ndarray]:
    """Positions of pictures that one program draws, ``_BATCH`` at most, by their first one."""
    kinds = [np.flatnonzero(sees == modality) for modality in np.unique(sees)]
    parts = [kind[i : i + _BATCH] for kind in kinds for i in range(0, len(kind), _BATCH)]
    return sorted(parts, key=lambda part: int(part[0]))


def _overlapped(
    draw: Callable[[np.ndarray], list[Picture]], batches: list[np.ndarray]
) -> Iterator[list[Picture]]:
    """``draw`` of every batch, in order, in threads a little ahead of what is asked for."""
    with concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
        waiting: collections.deque[concurrent.futures.Future[list[Picture]]] = collections.deque()
        for batch in batches:
            waiting.append(pool.submit(draw, batch))
            if len(waiting) > _WORKERS:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


@functools.partial(jax.jit, static_argnames=("look", "modality"))
def _draw(
    body: Body,
    paths: jax.Array,
    viewers: Camera,
    root: jax.Array,
    *shots: jax.Array,
    look: tuple[int, int, int, float],
    modality: str,
) -> Picture:
    """Draws a batch; picture after picture, so that no result depends on its neighbours."""
    height, width, city, colourful = look
    draw_keys = jax.vmap(functools.partial(picture_keys, root))
    keys, posed = draw_keys(*shots[:4]), draw_keys(*shots[7:])

    def person(key: jax.Array) -> Person:
        someone = sample_person(key, city=city, colourful=colourful)
        if modality == VISIBLE:
            return someone
        return unveil(someone, sample_fabrics(key, someone), modality)

    def one(args: tuple) -> Picture:
        who, (camera, scene, kind, viewer, posed_before), key, posed = args
        seen_by = jax.tree.map(lambda leaf: leaf[viewer], viewers)
        # people cross the street of their own camera, whoever looks
        own = {"scene": scene, "path": paths[camera], "kind": kind}
        moment = sample_moment(key["moment"], key["visit"], **own)
        pose = sample_moment(posed["moment"], posed["visit"], path=paths[posed_before])
        moment = moment._replace(**{name: getattr(pose, name) for name in POSE})
        size = {"height": height, "width": width, "modality": modality}
        picture = render(body, who, person(key["passer"]), moment, seen_by, key["noise"], **size)
        pixels = jnp.round((picture.image + 1) * 127.5).astype(jnp.uint8)
        return picture._replace(image=pixels)

    # Figures are made for the whole batch first: XLA would otherwise fuse dressing into posing and
    # repeat it for every coordinate.
    who = jax.lax.map(lambda key: dress(person(key), body), keys["who"])
    return jax.lax.map(one, (who, (shots[2], *shots[4:7], shots[9]), keys, posed))
