"""Draws rows of a plan: many pictures in order, by one program, whatever is drawn beside them."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world.body import Body
from jaxreid.data.world.cameras import Camera, sample_camera
from jaxreid.data.world.cloud import load_body
from jaxreid.data.world.moments import sample_moment
from jaxreid.data.world.people import sample_person
from jaxreid.data.world.planning import Plan
from jaxreid.data.world.renderer import Picture, render, surfels_for
from jaxreid.data.world.spec import KNOWN, Spec
from jaxreid.data.world.wardrobe import dress

_BATCH = 32  # pictures per call; a program for another number may round otherwise
_WORKERS = 2  # overlaps drawing with encoding, and fills cores that one picture leaves idle


@functools.lru_cache(maxsize=4)
def cameras_of(spec: Spec) -> Camera:
    """All cameras of a world, stacked."""
    root = jax.random.fold_in(jax.random.key(spec.seed), 1)
    keys = jax.random.split(jax.random.fold_in(root, spec.city), spec.cameras)
    draw = functools.partial(sample_camera, city=spec.city, strength=spec.strength)
    return jax.jit(jax.vmap(draw))(keys)


def draw_all(
    spec: Spec,
    table: Plan,
    rows: np.ndarray,
    cameras: np.ndarray,
    *,
    seen_by: Spec | None = None,
) -> Iterator[Picture]:
    """Pictures of ``rows`` as seen by ``cameras``, in order; images are uint8 on the host.

    Args:
        spec: whose people these are.
        table: its plan.
        rows: [n] positions in the plan.
        cameras: [n] who looks.
        seen_by: whose cameras look; None means ``spec``.

    Yields:
        Pictures, image uint8 [H, W, 3].
    """
    body = jax.tree.map(jnp.asarray, load_body(surfels_for(spec.height, spec.width)))
    paths, viewers = cameras_of(spec).path, cameras_of(seen_by or spec)
    root = jax.random.key(spec.seed)
    look = (spec.height, spec.width, spec.city, spec.colourful)
    fields = [getattr(table, name) for name in ("stream", "pid", "camera", "shot", "scene", "kind")]

    def draw(start: int) -> list[Picture]:
        part = np.arange(start, min(start + _BATCH, len(rows)))
        padded = np.resize(part, _BATCH)  # one compiled program serves every batch
        shots = [np.asarray(field)[rows[padded]] for field in fields] + [cameras[padded]]
        pictures = jax.device_get(_draw(body, paths, viewers, root, *shots, look=look))
        return [jax.tree.map(lambda leaf, i=i: leaf[i], pictures) for i in range(len(part))]

    with concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
        waiting: collections.deque[concurrent.futures.Future[list[Picture]]] = collections.deque()
        for start in range(0, len(rows), _BATCH):
            waiting.append(pool.submit(draw, start))
            if len(waiting) > _WORKERS:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


@functools.partial(jax.jit, static_argnames="look")
def _draw(
    body: Body,
    paths: jax.Array,
    viewers: Camera,
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
        seen_by = jax.tree.map(lambda leaf: leaf[viewer], viewers)
        # people cross the street of their own camera, whoever looks
        own = {"scene": scene, "path": paths[camera], "kind": kind}
        moment = sample_moment(key["moment"], key["visit"], **own)
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
