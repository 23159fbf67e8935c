"""Retrieval protocols and distances of image sets: pure functions from embeddings to scores."""

from jaxreid.evaluation.frechet import Moments, frechet_distance, merge, moments
from jaxreid.evaluation.inspection import (
    CameraPairs,
    Ranked,
    camera_pairs,
    top_ranked,
)
from jaxreid.evaluation.kernel import (
    OverSubsets,
    kernel_distance,
    kernel_distance_over_subsets,
)
from jaxreid.evaluation.protocol import MARKET, Embedded, Protocol
from jaxreid.evaluation.ranking import evaluate, query_scores
from jaxreid.evaluation.scores import QueryScores, Scores, average

__all__ = [
    "MARKET",
    "CameraPairs",
    "Embedded",
    "Moments",
    "OverSubsets",
    "Protocol",
    "QueryScores",
    "Ranked",
    "Scores",
    "average",
    "camera_pairs",
    "evaluate",
    "frechet_distance",
    "kernel_distance",
    "kernel_distance_over_subsets",
    "merge",
    "moments",
    "query_scores",
    "top_ranked",
]
