"""IDE + MMD: the loss by hand, what reaches whom, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.systems import mmd

SOURCE, TARGET = jnp.array([[0.0, 0], [1, 0]]), jnp.array([[0.0, 1], [2, 0]])
MEDIAN = (1 + 2**0.5) / 2  # of the distances 1, 1, 1, sqrt 2, 2, sqrt 5: between the third and next
HALVES = tuple(q / MEDIAN for q in (0.5, 1.0, 2.0))
OPTIONS = {"batch": 8, "bandwidths": (1.0,), "weight": 1.0}


def found(source=SOURCE, target=TARGET, labels=(0, 1), weight=1.0, calls=None):
    """Terms of the loss when f is the image itself and logits are f."""

    def forward(stats, images, key):
        if calls is not None:
            calls.append(len(images))
        return {"metric": images, "logits": images}, stats + 1

    batch = {"image": source, "label": jnp.array(labels), "target_image": target}
    key = jax.random.key(0)
    return mmd.aligned_loss(forward, 0, batch, key, weight=weight, bandwidths=HALVES)


def test_the_loss_is_the_golden_one_and_both_domains_share_a_pass():
    calls = []
    terms, stats = found(weight=2.0, calls=calls)
    assert calls == [4] and stats == 1
    assert float(terms["mmd"]) == pytest.approx(2 * 1.5429159, abs=1e-6)
    logs = np.array([0.0, 0.0]), np.array([1.0, 0.0])
    expected = np.mean([np.log(np.exp(x).sum()) - x[y] for x, y in zip(logs, (0, 1), strict=True)])
    assert float(terms["identity"]) == pytest.approx(expected, abs=1e-6)


def test_target_images_are_aligned_and_never_classified():
    def term(source, target, name):
        return found(source, target)[0][name]

    by_source, by_target = jax.grad(term, (0, 1))(SOURCE, TARGET, "identity")
    assert not by_target.any() and by_source.any()
    by_source, by_target = jax.grad(term, (0, 1))(SOURCE, TARGET, "mmd")
    assert np.abs(by_source).min(0).max() > 0 and by_target.any(1).all()
    np.testing.assert_allclose(by_source.sum(0) + by_target.sum(0), 0, atol=1e-6)


def test_order_and_numbers_of_rows_do_not_matter():
    plain = found()[0]["mmd"]
    turned = found(SOURCE[::-1], TARGET[::-1], (1, 0))[0]
    twice = found(jnp.tile(SOURCE, (2, 1)), TARGET, (0, 1, 0, 1))[0]
    np.testing.assert_allclose(turned["mmd"], plain, atol=1e-6)
    np.testing.assert_allclose(turned["identity"], twice["identity"], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "head", "message"),
    [
        ({"bandwidths": ()}, "fc1024", "mmd.bandwidths is .*one or more numbers above 0"),
        ({"bandwidths": (1.0, 0.0)}, "fc1024", "mmd.bandwidths is"),
        ({"weight": -1.0}, "fc1024", "mmd.weight is -1.0"),
        ({}, "fc1024_triplet", "reid.head is 'fc1024_triplet'"),
    ],
)
def test_options_that_train_nothing_are_refused(tmp_path, changes, head, message):
    config = {"mmd": OPTIONS | changes, "reid": {"head": head}}
    with pytest.raises(ValueError, match=message):
        mmd.run(config, tmp_path)
    assert not list(tmp_path.iterdir())
