"""From the ranks of the matches to CMC, average precision and INP (host, float64)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid.evaluation.chance import Chance
from jaxreid.evaluation.protocol import Protocol

CMC_RANKS = 50
"""Ranks that every CMC curve holds."""


@dataclasses.dataclass(frozen=True)
class QueryScores:
    """Scores of every single query, in the order of the queries.

    A query without a match in its gallery has ``positives == 0`` and NaN everywhere else.

    Attributes:
        positives: ``[Q]`` number of matches in the gallery.
        cmc: ``[Q, 50]`` 1 where a match stands at rank k or before (a probability in
            ``single_shot``).
        ap: ``[Q]`` average precision, step rule.
        ap_trapezoid: ``[Q]`` average precision, trapezoid rule.
        inp: ``[Q]`` inverse negative penalty.
    """

    positives: np.ndarray
    cmc: np.ndarray
    ap: np.ndarray
    ap_trapezoid: np.ndarray
    inp: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scores:
    """Means over the queries, as fractions in [0, 1], with the protocol they were made under.

    Attributes:
        cmc: fraction of queries with a match at rank 1, 2, ... 50 or before.
        mean_ap: mAP by the step rule (torchreid, fast-reid, TransReID, SYSU-MM01).
        mean_ap_trapezoid: mAP by the trapezoid rule (Market-1501's own script, most GAN papers).
        mean_inp: mINP.
        queries: number of queries.
        valid_queries: queries with at least one match (the fewest over trials).
        gallery_size: gallery pictures without junk (the fewest over trials).
        trials: number of evaluations averaged here.
        chance: what a random order would score.
        protocol: the rules.
    """

    cmc: tuple[float, ...]
    mean_ap: float
    mean_ap_trapezoid: float
    mean_inp: float
    queries: int
    valid_queries: int
    gallery_size: int
    trials: int
    chance: Chance
    protocol: Protocol

    def rank(self, k: int) -> float:
        """Returns the rank-``k`` rate, ``1 <= k <= 50``."""
        if not 1 <= k <= len(self.cmc):
            raise ValueError(f"rank {k} was asked for; the curve holds ranks 1 to {len(self.cmc)}.")
        return self.cmc[k - 1]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values under the names that papers use."""
        return {
            **{f"rank-{k}": self.rank(k) for k in (1, 5, 10, 20)},
            "mAP": self.mean_ap,
            "mAP_trapezoid": self.mean_ap_trapezoid,
            "mINP": self.mean_inp,
            "queries": self.queries,
            "valid_queries": self.valid_queries,
            "gallery_size": self.gallery_size,
            "trials": self.trials,
            "chance": {"rank-1": self.chance.rank1, "mAP": self.chance.mean_ap},
            "cmc": list(self.cmc),
            "protocol": self.protocol.to_dict(),
        }


def score_ranks(
    ranks: np.ndarray, positives: np.ndarray, *, truncate: int | None = None
) -> QueryScores:
    """Scores queries from the ranks of their matches.

    With matches at the ranks ``r_1 < ... < r_G``, the step rule is ``AP = 1/G sum_j j / r_j``; the
    trapezoid rule averages the precision before and at each match, ``(p_j + j / r_j) / 2`` with
    ``p_j = (j - 1) / (r_j - 1)``, 1 where ``r_j = 1``, in place of ``j / r_j`` (the script of Zheng
    et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015); ``INP = G / r_G`` (Ye et
    al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021).

    Args:
        ranks: ``[Q, K]`` 1-based, ascending; entries at and after ``positives`` are ignored.
        positives: ``[Q]`` number of matches of each query, at most ``K``.
        truncate: matches at later ranks count for nothing; G stays the number of all matches.

    Returns:
        One value per query.
    """
    j = np.arange(1, ranks.shape[1] + 1)
    counts = (j <= positives[:, None]) & (ranks <= (truncate or np.inf))
    at = j / ranks
    before = np.where(ranks == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))
    total = np.where(positives > 0, positives, np.nan)
    last = np.take_along_axis(counts * at, np.maximum(positives - 1, 0)[:, None], axis=1)[:, 0]
    hits = counts[:, :1] & (ranks[:, :1] <= np.arange(1, CMC_RANKS + 1))
    return QueryScores(
        positives=positives,
        cmc=np.where(positives[:, None] > 0, hits, np.nan),
        ap=np.sum(counts * at, axis=1) / total,
        ap_trapezoid=np.sum(counts * (at + before) / 2, axis=1) / total,
        inp=np.where(positives > 0, last, np.nan),
    )


def single_shot_cmc(closer: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Expected CMC when one picture of each gallery identity is drawn.

    For each picture p of the true identity (each equally likely), another identity g is ahead with
    the share ``q_g`` of its pictures closer than p. The rank is 1 plus a sum of independent coin
    tosses, whose distribution is the convolution of all ``[1 - q_g, q_g]``.

    Args:
        closer: ``[P, I]`` pictures of each other identity closer than each of the P matches.
        visible: ``[I]`` pictures of each other identity that the query sees; 0 leaves it out.

    Returns:
        ``[50]`` probability that the true identity stands at rank k or before.
    """
    share = closer / np.maximum(visible, 1)
    ahead = np.zeros((len(closer), CMC_RANKS))  # ahead[p, n] = P(n identities before match p)
    ahead[:, 0] = 1.0
    for q in share.T[:, :, None]:
        if q.any():
            ahead[:, 1:], ahead[:, :1] = (
                ahead[:, 1:] * (1 - q) + ahead[:, :-1] * q,
                ahead[:, :1] * (1 - q),
            )
    return np.cumsum(ahead, axis=1).mean(axis=0)


def summarize(scores: QueryScores, gallery_size: int, chance: Chance, protocol: Protocol) -> Scores:
    """Takes the means over queries; at least one query must have a match."""
    valid = scores.positives > 0
    total = int(valid.sum()) if protocol.empty_query == "drop" else len(valid)
    return Scores(
        cmc=tuple((scores.cmc[valid].sum(axis=0) / total).tolist()),
        mean_ap=float(scores.ap[valid].sum() / total),
        mean_ap_trapezoid=float(scores.ap_trapezoid[valid].sum() / total),
        mean_inp=float(scores.inp[valid].sum() / total),
        queries=len(valid),
        valid_queries=int(valid.sum()),
        gallery_size=gallery_size,
        trials=1,
        chance=chance,
        protocol=protocol,
    )


MEASURES = ("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mAP_trapezoid", "mINP")


def deviations(scores: Sequence[Scores]) -> dict[str, float]:
    """Standard deviation over trials (n - 1 in the denominator) of each number that papers print.

    Args:
        scores: one per trial, two or more, as for `average`, whose names in ``to_dict`` these are.

    Raises:
        ValueError: fewer than two trials, or trials made under different protocols.
    """
    if len(scores) < 2:
        raise ValueError(f"{len(scores)} trial has no spread; give two or more.")
    average(scores)
    each = [trial.to_dict() for trial in scores]
    return {key: float(np.std([trial[key] for trial in each], ddof=1)) for key in MEASURES}


def average(scores: Sequence[Scores]) -> Scores:
    """Averages trials (gallery draws, or RegDB's and VIPeR's ten splits); each weighs the same.

    Raises:
        ValueError: no trial, or trials made under different protocols.
    """
    if not scores:
        raise ValueError("There is no trial to average; give at least one.")
    if len({each.protocol for each in scores}) > 1:
        raise ValueError("The trials were made under different protocols; their mean says nothing.")
    first = scores[0]
    return Scores(
        cmc=tuple(np.mean([each.cmc for each in scores], axis=0).tolist()),
        mean_ap=float(np.mean([each.mean_ap for each in scores])),
        mean_ap_trapezoid=float(np.mean([each.mean_ap_trapezoid for each in scores])),
        mean_inp=float(np.mean([each.mean_inp for each in scores])),
        queries=min(each.queries for each in scores),
        valid_queries=min(each.valid_queries for each in scores),
        gallery_size=min(each.gallery_size for each in scores),
        trials=sum(each.trials for each in scores),
        chance=Chance(*np.mean([each.chance for each in scores], axis=0).tolist()),
        protocol=first.protocol,
    )
