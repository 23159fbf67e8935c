import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.evaluation import Embedded, Protocol, Reranking


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"mask": "camera"}, "Protocol.mask is 'camera'; expected one of same_id_same_camera"),
        ({"cmc": "first"}, "Protocol.cmc"),
        ({"empty_query": "skip"}, "Protocol.empty_query"),
        ({"rank_truncate": 0}, "Protocol.rank_truncate is 0"),
        ({"rank_truncate": 5, "cmc": "identity"}, "no meaning with cmc='identity'"),
    ],
)
def test_impossible_protocols(fields, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**fields)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"k1": 0}, "Reranking.k1 is 0; .* 1 or more"),
        ({"k2": 0}, "Reranking.k2 is 0; .* 1 or more"),
        ({"weight": 1.5}, "Reranking.weight is 1.5; expected 0 to 1"),
        ({"weight": float("nan")}, "Reranking.weight is nan"),
    ],
)
def test_impossible_rerankings(fields, message):
    with pytest.raises(ValueError, match=message):
        Reranking(**fields)


def test_reranking_stands_in_the_protocol_where_there_is_one():
    protocol = Protocol(reranking=Reranking(k2=1))
    written = protocol.to_dict()
    assert written["reranking"] == {"k1": 20, "k2": 1, "weight": 0.3, "include_junk": False}
    assert Protocol(**written) == protocol
    assert "reranking" not in Protocol().to_dict()


def test_protocol_is_hashable_whatever_its_config_held():
    assert hash(Protocol(junk_pids=[-1, 0])) == hash(Protocol(junk_pids=(-1, 0)))


@pytest.mark.parametrize(
    "arrays, message",
    [
        ((np.zeros((2, 3, 4)), [1, 2], [0, 0]), r"embeddings has shape \(2, 3, 4\)"),
        ((np.zeros((2, 3)), [1, 2, 3], [0, 0]), r"pids has shape \(3,\); expected \(2,\)"),
        ((np.zeros((2, 3)), [1, 2], [[0, 0]]), "cameras has shape"),
        ((np.zeros((2, 3)), [1.0, 2.0], [0, 0]), "pids has type float64"),
    ],
)
def test_arrays_that_do_not_belong_together(arrays, message):
    with pytest.raises(ValueError, match=message):
        Embedded(*arrays)


def test_device_arrays_and_lists_are_welcome():
    pictures = Embedded(jnp.ones((3, 2)), [4, 5, 6], jnp.array([1, 2, 3]))
    assert pictures.embeddings.dtype == np.float32 and isinstance(pictures.pids, np.ndarray)
    assert pictures.take([2, 0]).pids.tolist() == [6, 4]
    assert pictures.take(pictures.cameras == 2).pids.tolist() == [5]
    assert len(pictures.take([])) == 0
