"""Losses of scores, labels, images and cameras against loops over Python numbers."""

from functools import partial

import jax
import losses_oracle as oracle
import losses_oracle_images as slow
import numpy as np
import pytest
from hypothesis import strategies as st
from losses_cases import hide, jitted, masks, prove

from jaxreid import losses

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, H, W, K = 4, 3, 2, 5


@st.composite
def seeds(draw):
    """A generator, and masks of a batch: of all its rows, of some, or none."""
    masked, where, other = draw(st.integers(0, 2)), draw(masks(B)), draw(masks(B))
    return {
        "rng": np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
        "where": where if masked else None,
        "other": other if masked else None,
        "labels": np.array(draw(st.lists(st.integers(-1, K), min_size=B, max_size=B))),
        "size": 10.0 ** draw(st.integers(-3, 2)),
    }


@pytest.fixture
def rounded(request):
    """To the precision of the comparison that uses it."""
    return np.float64 if "float64" in request.node.name else np.float32


@pytest.mark.parametrize("name", oracle.SCORES)
def test_scores(compare, rounded, name):
    real = name.endswith(("discriminator", "critic"))

    def body(case):
        maps = case["size"] * case["rng"].normal(size=(1 + real, B, H, W))
        where, largest = case["where"], max(1, case["size"] ** 2)
        if where is not None and case["rng"].random() < 0.5:  # a mask of single patches
            where = case["rng"].random((B, H, W)) < 0.5
        maps = [hide(m.astype(rounded), where) for m in maps]
        result = jitted(name)(*maps, where=where)
        yield (
            f"{name}, relative",
            result / largest,
            oracle.scores(name, *maps, where=where) / largest,
        )

    compare(body, 80, seeds())


def test_makers_of_targets(proof):
    def body(case):  # targets are float32
        labels, rng = case["labels"], case["rng"]
        for epsilon in (0.0, 1.0, np.float32(rng.random()), rng.random(B).astype(np.float32)):
            result = jitted("smooth_labels", num_classes=K)(labels, epsilon=epsilon)
            name = "smooth_labels, one epsilon each" if np.ndim(epsilon) else "smooth_labels"
            yield name, result, oracle.smooth_labels(labels, K, epsilon)
        one = jitted("smooth_labels", num_classes=1)(0 * labels, epsilon=0.3)
        yield "smooth_labels, one class", one, np.ones((B, 1))
        generated = rng.random(B) < 0.5
        result = jitted("lsro_labels", num_classes=K)(labels, generated)
        yield "lsro_labels", result, oracle.lsro_labels(labels, generated, K)

    prove(proof, 1e-7, 200, seeds(), body)


def test_classification(compare, rounded):
    def body(case):
        rng, where = case["rng"], case["where"]
        logits = [hide(a.astype(rounded), where) for a in case["size"] * rng.normal(size=(2, B, K))]
        targets = rng.dirichlet(np.ones(K), B) * (rng.random((B, K)) < 0.7)
        targets, scale = targets.astype(rounded), max(1, case["size"])
        expected = [oracle.cross_entropy(a, targets, where) / scale for a in logits]
        result = jitted("cross_entropy")(logits[0], targets, where=where)
        yield "cross_entropy, relative", result / scale, expected[0]
        result = jitted("joint_cross_entropy")(*logits, targets, where=where)
        yield "joint_cross_entropy, relative", result / scale, sum(expected)
        domains = np.clip(case["labels"], 0, K - 1)
        one_hot = oracle.smooth_labels(domains, K, 0.0)
        result = jitted("domain_classification")(logits[0], domains, where=where)
        expected = oracle.cross_entropy(logits[0], one_hot, where)
        yield "domain_classification, relative", result / scale, expected / scale

    compare(body, 200, seeds())


def test_mean(compare, rounded):
    def body(case):
        values = case["rng"].normal(size=(B, H)).astype(rounded)
        yield "mean, no weights", jitted("mean")(values), oracle.mean(values)
        for weights in (case["where"], case["rng"].integers(0, 3, (B, H)), case["rng"].random(B)):
            if weights is not None:
                weights = weights if weights.dtype == bool else weights.astype(rounded)
                hidden = hide(values, weights > 0)
                yield "mean, weights", jitted("mean")(hidden, weights), oracle.mean(hidden, weights)

    compare(body, 80, seeds())


def test_images(compare, rounded):
    def body(case):
        rng, where = case["rng"], case["where"]
        images = rng.uniform(-1, 1, (3, B, H, W, 3)).astype(rounded)
        images[1, :, 0] = images[0, :, 0]  # equal pixels
        x, y, z = (hide(a, where) for a in images)
        for name in ("cycle", "identity_mapping"):
            yield name, jitted(name)(x, y, where=where), slow.mean_absolute(x, y, where)
        for depth in (1, 3):
            masks = np.round(2 * rng.random((2, B, H, W, depth)), 1).astype(rounded) / 2
            for norm in ("mean_square", "l2"):
                args = hide(masks[0], where), hide(masks[1], where)
                result = jitted("masked_identity", norm=norm)(x, y, args[0], where=where)
                expected = slow.masked_identity(x, y, args[0], norm, where)
                yield f"masked_identity, norm={norm!r}", result, expected
                result = jitted("context", norm=norm)(z, x, y, *args, where=where)
                expected = [
                    slow.masked_identity(a, z, m, norm, where)
                    for a, m in zip((x, y), args, strict=True)
                ]
                yield f"context, norm={norm!r}", np.array(result), np.array(expected)

    compare(body, 60, seeds())


def test_gradient_penalty(compare, rounded):
    """Scores a.x + (b.x)^2 / 2 of two patches have the summed slope sum_p a_p + (b_p.x) b_p."""

    def penalty(critic, x, y, where, seed):
        return losses.gradient_penalty(critic, x, y, jax.random.key(seed), where=where)

    def patches(a, b, x):
        return x @ a.T + 0.5 * (x @ b.T) ** 2

    bowl = jax.jit(partial(penalty, lambda x: 0.5 * (x * x).sum(1)))
    run = jax.jit(lambda a, b, *rest: penalty(partial(patches, a, b), *rest))

    def body(case):
        where, seed = case["where"], case["rng"].integers(1 << 30)
        unit = np.full((B, H), H**-0.5, rounded)
        u = np.sqrt(np.float64(bowl(3 * unit, 2 * unit, None, seed))) - 1  # (|2 + u| - 1)^2
        assert np.all((0 <= u) & (u < 1 + 1e-6)) and len(set(u)) == B
        x, y = (hide(z.astype(rounded), where) for z in case["rng"].normal(size=(2, B, H)))
        a, b = case["rng"].normal(size=(2, 2, H)).astype(rounded)
        mixed = u[:, None] * x + (1 - u[:, None]) * y
        slope = a.sum(0) + mixed @ b.T @ b
        expected = (np.sqrt((slope**2).sum(1)) - 1) ** 2
        expected = expected if where is None else np.where(where, expected, 0)
        scale = max(1, expected.max())
        yield "gradient_penalty, relative", run(a, b, x, y, where, seed) / scale, expected / scale

    compare(body, 80, seeds())


def test_feature_matching(compare, rounded):
    def body(case):
        rng, wheres = case["rng"], (case["where"], case["other"])
        shapes = (H, W, 2), (3,), (1, 1, 4)
        layers = [
            [hide(rng.normal(size=(B, *s)).astype(rounded), where) for s in shapes]
            for where in wheres
        ]
        for reduce in ("sum", "mean"):
            result = jitted("feature_matching", reduce=reduce)(
                *layers, real_where=wheres[0], fake_where=wheres[1]
            )
            expected = slow.feature_matching(*layers, reduce, *wheres)
            yield f"feature_matching, reduce={reduce!r}", result, expected

    compare(body, 80, seeds())


SSIM = {
    "default": {},
    "signed": {"absolute": False},
    "per image": {"per_image": True},
    "per image, signed": {"per_image": True, "absolute": False},
    "odd window": {"window": 5, "sigma": 1.0, "constants": (0.01, 0.03), "levels": 2},
}


@pytest.mark.parametrize("size", [(17, 16, 1), (9, 21, 2)], ids=str)
def test_ms_ssim(compare, rounded, size):
    def body(case):
        where, x = case["where"], case["rng"].random((B, *size)).astype(rounded)
        noise = case["rng"].normal(size=x.shape) * case["rng"].choice([0.0, 0.1, 1.0])
        y = np.clip(x + noise, 0, 1).astype(rounded)
        y = (1 - y if case["size"] > 10 else y).astype(rounded)
        x, y = hide(x, where), hide(y, where)
        for name, options in SSIM.items():
            result = jitted("ms_ssim", **options)(x, y, where=where)
            yield f"ms_ssim, {name}", result, slow.ms_ssim(x, y, where=where, **options)

    compare(body, 24, seeds())


def test_cameras(compare, rounded):
    def body(case):
        rng, where = case["rng"], case["where"]
        maps = hide(rng.random((B, H, W)).astype(rounded) * (rng.random() < 0.9), where)
        terms = hide(rng.normal(size=B).astype(rounded), where)
        for norm in ("sum1", "none"):
            clean = np.nan_to_num(maps, nan=0, posinf=0, neginf=0)
            for grad in ("stop", "flow"):
                options = {"weight_norm": norm, "weight_grad": grad}
                result = jitted("style_weights", **options)(clean)
                yield f"style_weights, {norm!r}", result, slow.style_weights(clean, norm)
                result = jitted("style_unity", **options)(terms, maps, where=where)
                expected = slow.style_unity(terms, maps, norm, where)
                yield f"style_unity, {norm!r}, {grad!r}", result, expected

    compare(body, 80, seeds())


def test_scheduled_normalization(compare, rounded):
    step = jitted("scheduled_normalization")

    def body(case):
        values = np.abs(case["rng"].normal(size=8)).astype(rounded)
        updates, beta = case["rng"].random(8) < 0.4, case["rng"].choice([0.0, 0.5, 0.99])
        state, results = jitted("loss_scale")(), []
        state = jax.tree.map(lambda a: a.astype(rounded), state)
        for value, update in zip(values, updates, strict=True):
            result, state = step(value, state, update=update, beta=beta)
            results.append(result)
        expected, last = slow.scheduled_normalization(values, updates, beta)
        scale = max(1, max(expected))
        yield (
            "scheduled_normalization, relative",
            np.array(results) / scale,
            np.array(expected) / scale,
        )
        yield "scheduled_normalization, state", np.array(state), np.array(last)

    compare(body, 80, seeds())
