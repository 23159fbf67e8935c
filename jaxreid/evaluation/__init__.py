"""Retrieval protocols and distances of image sets: pure functions from embeddings to scores."""

from jaxreid.evaluation.chance import Chance, by_chance
from jaxreid.evaluation.draws import Permutations, drawn, load_permutations
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
from jaxreid.evaluation.protocol import (
    MARKET,
    REGDB,
    SYSU_ALL,
    SYSU_ALL_MULTI,
    SYSU_INDOOR,
    SYSU_INDOOR_MULTI,
    Draw,
    Embedded,
    Protocol,
    Reranking,
)
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
from jaxreid.evaluation.reranking import reranker
from jaxreid.evaluation.scores import QueryScores, Scores, average, deviations
from jaxreid.evaluation.tsne import tsne

__all__ = [
    "MARKET",
    "REGDB",
    "SYSU_ALL",
    "SYSU_ALL_MULTI",
    "SYSU_INDOOR",
    "SYSU_INDOOR_MULTI",
    "CameraPairs",
    "Chance",
    "Distance",
    "Draw",
    "Embedded",
    "Estimate",
    "FeatureNet",
    "Moments",
    "OverSubsets",
    "Permutations",
    "PrecisionRecall",
    "Protocol",
    "QueryScores",
    "Ranked",
    "Reranking",
    "Scores",
    "average",
    "by_chance",
    "camera_pairs",
    "chosen_rows",
    "deviations",
    "drawn",
    "evaluate",
    "frechet_between",
    "frechet_distance",
    "image_features",
    "image_moments",
    "kernel_between",
    "kernel_distance",
    "kernel_distance_over_subsets",
    "load_permutations",
    "merge",
    "moments",
    "paired",
    "precision_recall",
    "precision_recall_between",
    "query_scores",
    "random_pairs",
    "reranker",
    "spread",
    "top_ranked",
    "tsne",
]
