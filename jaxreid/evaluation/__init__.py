"""Retrieval protocols: pure functions from embeddings to scores."""

from jaxreid.evaluation.inspection import (
    CameraPairs,
    Ranked,
    camera_pairs,
    top_ranked,
)
from jaxreid.evaluation.protocol import MARKET, Embedded, Protocol
from jaxreid.evaluation.ranking import evaluate, query_scores
from jaxreid.evaluation.scores import QueryScores, Scores, average

__all__ = [
    "MARKET",
    "CameraPairs",
    "Embedded",
    "Protocol",
    "QueryScores",
    "Ranked",
    "Scores",
    "average",
    "camera_pairs",
    "evaluate",
    "query_scores",
    "top_ranked",
]
