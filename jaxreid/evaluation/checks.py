"""Clear errors for inputs that cannot be ranked or compared."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from jaxreid.evaluation.protocol import Embedded, Protocol, prepared

TIES = 0.05  # share of the wrong pictures that may be as far as a match
LOOKED_AT = 100  # queries, and matches of each, to find that out
OTHERS = 2000  # pictures of the gallery, about


def check_pictures(query: Embedded, gallery: Embedded, protocol: Protocol) -> None:
    """Raises ValueError where the embeddings of query and gallery cannot be ranked."""
    if len(query) == 0:
        raise ValueError("The query set is empty; give at least one query picture.")
    if np.isin(gallery.pids, protocol.junk_pids).all():
        raise ValueError(
            f"The gallery is empty: {len(gallery)} pictures, all of them junk "
            f"(identities {list(protocol.junk_pids)}). Check the gallery folder and junk_pids."
        )
    if query.embeddings.shape[1] != gallery.embeddings.shape[1]:
        raise ValueError(
            f"Query embeddings have {query.embeddings.shape[1]} numbers, gallery embeddings "
            f"{gallery.embeddings.shape[1]}; embed both with the same network."
        )
    _check_finite("query", query.embeddings)
    _check_finite("gallery", gallery.embeddings)


def check_not_collapsed(gallery: Embedded) -> None:
    """Raises ValueError where all embeddings are equal: matches win ties, so scores would be 1."""
    several = len(np.unique(gallery.pids)) > 1
    if several and (gallery.embeddings == gallery.embeddings[0]).all():
        raise ValueError(
            f"All {len(gallery)} gallery embeddings are equal: the network has collapsed, and no "
            "ranking of them means anything. Lower the learning rate or train longer."
        )


def warn_of_ties(query: Embedded, gallery: Embedded, protocol: Protocol) -> None:
    """Warns where wrong pictures are often as far as a match: matches win ties, so scores flatter.

    That is what dead units behind a ReLU leave: embeddings that are zero, or have no unit in common
    with those of the other modality. A hundred queries are looked at, up to rounding, beside their
    matches and some thousand other pictures.
    """
    rows = np.linspace(0, len(query) - 1, min(len(query), LOOKED_AT)).astype(int)
    some = query.take(rows)
    seen = np.isin(gallery.pids, some.pids)
    seen[:: max(len(gallery) // OTHERS, 1)] = True
    gallery = gallery.take(seen)
    ours, theirs = prepared(some, protocol), prepared(gallery, protocol)
    squares = np.einsum("nd,nd->n", ours, ours)[:, None] + np.einsum("nd,nd->n", theirs, theirs)
    gaps = squares - 2 * ours @ theirs.T
    shares = []
    for gap, square, pid in zip(gaps, squares, some.pids, strict=True):
        right = gallery.pids == pid
        for match in gap[right][:LOOKED_AT]:
            shares.append((np.abs(gap - match) <= 1e-6 * square)[~right].mean())
    tied = np.mean(shares) if shares else 0
    if tied > TIES:
        warnings.warn(
            f"{tied:.0%} of the wrong pictures are as far from a query as its matches, which win "
            "ties, so these scores flatter: have embeddings become zero, equal, or orthogonal?",
            stacklevel=3,
        )


def no_match_error(query: Embedded, gallery: Embedded, protocol: Protocol) -> ValueError:
    """Explains why no query has a match in the gallery."""
    cameras = np.union1d(query.cameras, gallery.cameras)
    if not np.isin(query.pids, np.setdiff1d(gallery.pids, protocol.junk_pids)).any():
        cause = (
            "query and gallery share no person identity; were they relabelled separately, or do "
            "they come from different data sets?"
        )
    elif len(cameras) == 1:
        cause = (
            f"all pictures carry one camera id ({cameras[0]}) and the mask {protocol.mask!r} hides "
            "pictures of a query's own camera. Give the pictures their true camera ids, or use "
            "mask='none' if there is only one camera."
        )
    else:
        cause = (
            f"the mask {protocol.mask!r} hides them all; give people pictures of a second camera, "
            "or choose another mask."
        )
    return ValueError(f"No query has a match in the gallery: {cause}")


def check_features(name: str, features: ArrayLike, least: int) -> np.ndarray:
    """Returns features ``[n, d]`` in float64; raises ValueError unless finite and n >= least."""
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name} must have shape [n, d], d >= 1, but has {x.shape}.")
    if len(x) < least:
        raise ValueError(f"{name} has {len(x)} rows; {least} or more are needed.")
    bad = ~np.isfinite(x).all(1)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {len(x)} rows of {name} are not finite (the first is row "
            f"{bad.argmax()}); has a training diverged?"
        )
    return x


def _check_finite(name: str, embeddings: np.ndarray) -> None:
    # One pass without a temporary; a square that overflows would spoil distances as well.
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.isfinite(np.einsum("nd,nd->n", embeddings, embeddings))
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {len(bad)} {name} embeddings are NaN, infinite or too large to square "
            f"(the first is row {bad.argmax()}); has the training diverged?"
        )
