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
from jaxreid.evaluation.manifold import PrecisionRecall, precision_recall
from jaxreid.evaluation.pairs import Estimate, chosen_rows, paired, random_pairs, spread
from jaxreid.evaluation.protocol import MARKET, Embedded, Protocol
from jaxreid.evaluation.quality import (
    Distance,
    FeatureNet,
    frechet_between,
    image_features,
    image_moments,
    kernel_between,
    precision_recall_between,
)
from jaxreid.evaluation.ranking import evaluate, query_scores
from jaxreid.evaluation.scores import QueryScores, Scores, average

__all__ = [
    "MARKET",
    "CameraPairs",
    "Distance",
    "Embedded",
    "Estimate",
    "FeatureNet",
    "Moments",
    "OverSubsets",
    "PrecisionRecall",
    "Protocol",
    "QueryScores",
    "Ranked",
    "Scores",
    "average",
    "camera_pairs",
    "chosen_rows",
    "evaluate",
    "frechet_between",
    "frechet_distance",
    "image_features",
    "image_moments",
    "kernel_between",
    "kernel_distance",
    "kernel_distance_over_subsets",
    "merge",
    "moments",
    "paired",
    "precision_recall",
    "precision_recall_between",
    "query_scores",
    "random_pairs",
    "spread",
    "top_ranked",
]
