"""Embeddings whose ranking means less than it seems to."""

import numpy as np
import pytest

from jaxreid.evaluation import REGDB, Embedded, evaluate


@pytest.mark.parametrize("part", ["query", "gallery"])
def test_many_equal_embeddings_of_different_people_are_told(part, recwarn):
    rng = np.random.default_rng(0)

    def pictures(count, dead=0, value=0.0):
        vectors = rng.normal(size=(count, 8)).astype(np.float32)
        vectors[rng.permutation(count)[:dead]] = value
        return Embedded(vectors, np.arange(count) % 20, np.zeros(count, int))

    def told(dead, value=0.0):
        recwarn.clear()
        sets = {"query": pictures(40), "gallery": pictures(100)}
        sets[part] = pictures(len(sets[part]), dead, value)
        evaluate(sets["query"], sets["gallery"], REGDB)
        return [str(warning.message) for warning in recwarn]

    assert told(0) == told(2) == []
    assert f"{part} embeddings are zero; matches win ties" in told(30)[0]
    assert f"30 of {40 if part == 'query' else 100} {part} embeddings are equal" in told(30, 0.7)[0]
