"""What a random order would score, in expectation: the floor that every score stands on."""

from typing import NamedTuple

import numpy as np

from jaxreid.evaluation.checks import no_match_error
from jaxreid.evaluation.protocol import MASKS, Embedded, Protocol, searchable


class Chance(NamedTuple):
    """Expected scores of a random order, as fractions.

    Attributes:
        rank1: rank-1.
        mean_ap: mAP by the step rule.
    """

    rank1: float
    mean_ap: float


def by_chance(query: Embedded, gallery: Embedded, protocol: Protocol) -> Chance:
    """Expected scores if every query saw its gallery in random order; embeddings are not read.

    A query that sees m matches among n pictures has one of them first with probability m / n (one
    of its I identities, where one picture of each is drawn: 1 / I). A picture at rank k is a match
    with probability m / n, and then 1 + (k - 1) (m - 1) / (n - 1) matches are expected up to it, so

        E[AP] = 1/n sum_k (1 + (k - 1) (m - 1) / (n - 1)) / k
              = (H_R + (m - 1) / (n - 1) (R - H_R)) / n,  H_R = 1 + 1/2 + ... + 1/R,

    with R = n, or ``rank_truncate`` if that is less.

    Args:
        query: the probes.
        gallery: what is searched, one trial.
        protocol: the rules. Re-ranking changes nothing.

    Returns:
        The means over the queries.

    Raises:
        ValueError: no query has a match.
    """
    gallery = gallery.take(searchable(gallery, protocol))
    pids, rows = np.unique(gallery.pids, return_inverse=True)
    cameras, columns = np.unique(gallery.cameras, return_inverse=True)
    pictures = np.zeros((len(pids) + 1, len(cameras)), np.int64)  # of nobody in the last row
    np.add.at(pictures, (rows, columns), 1)
    index = np.searchsorted(pids, query.pids)
    index[~np.isin(query.pids, pids)] = len(pids)

    lenses, lens = np.unique(query.cameras, return_inverse=True)
    none = np.zeros((len(lenses), len(cameras)), bool)
    own, others = (
        ~np.asarray(MASKS[protocol.mask](none | same, lenses[:, None], cameras))
        for same in (True, False)
    )
    m = (pictures[index] * own[lens]).sum(1)
    n = m + ((pictures.sum(0) - pictures[index]) * others[lens]).sum(1)
    valid = m > 0
    if not valid.any():
        raise no_match_error(query, gallery, protocol)
    rivals = (pictures @ others.T > 0).astype(np.int64)  # identities that a camera's queries see
    identities = rivals.sum(0)[lens] - rivals[index, lens] + 1
    m, n, identities = m[valid], n[valid], identities[valid]

    first = 1 / identities if protocol.cmc == "single_shot" else m / n
    ranks = np.minimum(n, protocol.rank_truncate or np.inf).astype(np.int64)
    harmonic = np.cumsum(1 / np.arange(1, n.max() + 1))[ranks - 1]
    precision = (harmonic + (m - 1) / np.maximum(n - 1, 1) * (ranks - harmonic)) / n
    total = len(m) if protocol.empty_query == "drop" else len(query)
    return Chance(float(first.sum() / total), float(precision.sum() / total))
