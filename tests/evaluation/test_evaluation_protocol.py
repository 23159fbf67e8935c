import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.evaluation import Embedded, Protocol


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
