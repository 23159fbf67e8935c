"""Re-ID heads: which array each loss and the retrieval find under which name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.nets.heads import FC1024, HEADS, BNNeck, Direct, ReID, unit
from jaxreid.nets.resnet import ResNet

CLASSES = 7


@pytest.fixture
def maps():
    return 1 + jax.random.normal(jax.random.key(0), (6, 4, 2, 16))


def run(head, maps, train=False):
    variables = jax.jit(head.init)(jax.random.key(1), maps)
    output, _ = head.apply(
        variables, maps, train, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)}
    )
    return variables, output


def test_direct_classifies_the_average(maps):
    variables, output = run(Direct(CLASSES), maps)
    pooled = np.asarray(maps).mean((1, 2))
    layer = variables["params"]["classifier"]
    np.testing.assert_allclose(output["test"], pooled, rtol=1e-5)
    np.testing.assert_allclose(output["metric"], pooled, rtol=1e-5)
    expected = pooled @ np.asarray(layer["kernel"]) + layer["bias"]
    np.testing.assert_allclose(output["logits"], expected, atol=1e-5)
    assert 0.1 < np.abs(layer["bias"]).max() <= 16**-0.5


def test_fc1024_retrieves_by_the_pooled_maps_and_drops_units_when_training(maps):
    variables, output = run(FC1024(CLASSES, width=2048), maps)
    pooled = np.asarray(maps).mean((1, 2))
    length = np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(output["test"], pooled / length, rtol=1e-5)
    np.testing.assert_allclose(output["metric"], pooled, rtol=1e-5)
    params = variables["params"]
    np.testing.assert_allclose(params["feat"]["kernel"].std(), (2 / 2048) ** 0.5, rtol=0.03)
    np.testing.assert_allclose(params["classifier"]["kernel"].std(), 0.001, rtol=0.03)
    assert not params["feat"]["bias"].any()
    _, trained = run(FC1024(CLASSES, dropout=0.0), maps, train=True)
    _, dropped = run(FC1024(CLASSES, dropout=0.9), maps, train=True)
    assert np.abs(trained["logits"] - dropped["logits"]).max() > 1e-3


def test_bnneck_separates_metric_and_test_embeddings(maps):
    variables, output = run(BNNeck(CLASSES), maps, train=True)
    pooled = np.asarray(maps).mean((1, 2))
    necked = (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-5)
    np.testing.assert_allclose(output["metric"], pooled, rtol=1e-5)
    np.testing.assert_allclose(
        output["test"], necked / np.linalg.norm(necked, axis=1, keepdims=True), atol=1e-5
    )
    kernel = np.asarray(variables["params"]["classifier"]["kernel"])
    np.testing.assert_allclose(output["logits"], necked @ kernel, atol=1e-5)
    assert set(variables["params"]["classifier"]) == {"kernel"}
    assert set(variables["params"]["bottleneck"]) == {"scale"}


@pytest.mark.parametrize("name", HEADS)
def test_reid_splits_parameters_into_backbone_and_head(name):
    net = ReID(ResNet(18, 4, stem="small"), HEADS[name](CLASSES))
    images = jnp.zeros((2, 16, 8, 3))
    output, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
    assert set(variables["params"]) == {"backbone", "head"}
    assert {key: value.shape for key, value in output.items()} == {
        "logits": (2, CLASSES),
        "metric": (2, 32),
        "test": (2, 32),
    }


def test_unit_rows_are_finite_at_zero():
    rows = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [0, 0]])
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(rows)).all()
