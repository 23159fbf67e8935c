"""Random keys of a world's people, visits and pictures, all folded from that of the world."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxreid.data.world.spec import KNOWN


def picture_keys(
    root: jax.Array, stream: jax.Array, pid: jax.Array, camera: jax.Array, shot: jax.Array
) -> dict[str, jax.Array]:
    """The random keys of one picture; those of a known person's looks depend on the pid alone."""
    known = stream == KNOWN
    visit = visit_key(root, stream, pid, camera)
    picture = jax.random.fold_in(visit, shot)
    own, passer, moment, noise = jax.random.split(picture, 4)
    who = jnp.where(known, person_key(root, pid), own)
    visit = jnp.where(known, visit, picture)
    return {"who": who, "passer": passer, "visit": visit, "moment": moment, "noise": noise}


def person_key(root: jax.Array, pid: jax.Array | int) -> jax.Array:
    """The key of a known person."""
    return jax.random.fold_in(jax.random.fold_in(root, 2), pid)


def visit_key(
    root: jax.Array, stream: jax.Array | int, pid: jax.Array | int, camera: jax.Array | int
) -> jax.Array:
    """The key of a known person's visit to a camera."""
    return functools.reduce(jax.random.fold_in, (3, stream, pid, camera), root)
