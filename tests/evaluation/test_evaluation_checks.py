"""Embeddings whose ranking means less than it seems to."""

import numpy as np
import pytest

from jaxreid.evaluation import REGDB, Embedded, evaluate

RNG = np.random.default_rng(0)


def pictures(count, dead=0, value=0.0):
    """Random embeddings of 20 people, ``dead`` of which are all ``value``."""
    vectors = np.abs(RNG.normal(size=(count, 8)).astype(np.float32))
    vectors[RNG.permutation(count)[:dead]] = value
    return Embedded(vectors, np.arange(count) % 20, np.zeros(count, int))


def apart(embedded, first):
    """The same with units that the other modality does not use: orthogonal up to rounding."""
    nothing = np.zeros_like(embedded.embeddings)
    parts = (embedded.embeddings, nothing) if first else (nothing, embedded.embeddings)
    return Embedded(np.concatenate(parts, axis=1), embedded.pids, embedded.cameras)


@pytest.mark.parametrize(
    ("query", "gallery", "tied"),
    [
        (pictures(40), pictures(100), False),
        (pictures(40, 1), pictures(100, 5), False),
        (pictures(40, 20), pictures(100), True),
        (pictures(40), pictures(100, 40), True),
        (pictures(40), pictures(100, 40, 0.7), True),
        (apart(pictures(40), True), apart(pictures(100), False), True),
        (pictures(300), pictures(21), False),
        (Embedded(np.eye(2), [1, 2], [0, 0]), Embedded(np.eye(2), [1, 3], [0, 0]), False),
    ],
)
def test_frequent_ties_are_told(query, gallery, tied, recwarn):
    evaluate(query, gallery, REGDB)
    said = [str(warning.message) for warning in recwarn]
    assert [text for text in said if "win ties, so these scores flatter" in text] == said
    assert len(said) == tied
