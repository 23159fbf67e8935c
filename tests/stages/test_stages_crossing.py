"""What arms of a cross-domain run share: the recipe of their re-ID networks."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from configs.spgan import get_config
from jaxreid import losses
from jaxreid.stages import crossing, embedding, recipes, reid
from jaxreid.training import create

pytestmark = pytest.mark.usefixtures("quick_compiler")


def test_the_strong_recipe_is_smoothed_cross_entropy_and_batch_hard_triplets():
    rng = np.random.default_rng(0)
    logits, points = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.normal(size=(6, 2)))
    labels = jnp.array([0, 0, 1, 1, 2, 2])
    forward = lambda stats, images, key: ({"logits": logits, "metric": points}, stats)  # noqa: E731
    batch = {"image": None, "label": labels}
    terms, _ = recipes.strong_loss(forward, {}, batch, jax.random.key(0))
    named = jax.nn.log_softmax(logits)
    smoothed = -0.9 * named[jnp.arange(6), labels] - 0.1 * named.mean(1)
    assert float(terms["identity"]) == pytest.approx(float(smoothed.mean()), rel=1e-5)
    hinges = losses.triplet(points, labels, margin=0.3)
    assert float(terms["triplet"]) == pytest.approx(float(hinges.mean()), rel=1e-6)


def test_frozen_norms_keep_their_statistics_while_scales_learn():
    settings = reid.Settings(**common.reid("tiny").to_dict())
    form = (("frozen_norms", True),)
    net, tx, step = reid.program(settings, 4, 2, reid.identity_loss, None, form)
    variables = reid.initial(net, jax.random.key(0), (32, 16))
    state = create(jax.random.key(1), {"reid": variables}, tx)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 16, 3), np.uint8)
    after, _ = step.map(jax.jit)(state, {"image": images, "label": np.arange(8) % 4})
    before, now = state.nets["reid"], after.nets["reid"]

    def moved(a, b):
        return [bool((x != y).any()) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)]

    assert not any(moved(before.stats["backbone"], now.stats["backbone"]))
    assert all(moved(before.stats["head"], now.stats["head"]))
    norms = [
        path
        for path, x in jax.tree_util.tree_leaves_with_path(before.params["backbone"])
        if "scale" in jax.tree_util.keystr(path)
    ]
    learned = dict(jax.tree_util.tree_leaves_with_path(now.params["backbone"]))
    assert norms and all((np.asarray(learned[path]) != 1).any() for path in norms)


def test_an_arm_trains_by_the_recipe_of_the_config_in_its_own_size(tmp_path):
    config = get_config("tiny").to_dict()
    for key, value in common.STRONG.items():
        block, name = key.split(".")
        config[block][name] = value
    config["crossing"] |= {"size": (48, 24), "mirror": True}
    run = crossing.begin(config, tmp_path)
    trained = crossing.direct(run)
    line = json.loads((tmp_path / "reid_baseline/metrics.jsonl").read_text().splitlines()[-1])
    assert {"identity", "triplet"} <= line.keys()
    test = crossing.crossed(run)
    assert test.query.size == test.train.size == (48, 24)
    model = trained.model()
    assert model.net.mirror
    images = test.query.images(np.arange(2))
    there, back = (embedding.looked(model, x) for x in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(there, back, atol=1e-5)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("recipe", "best", "crossing.recipe is 'best'; choose one of ide, strong"),
        ("size", (48, 0), r"crossing.size is \(48, 0\)"),
        ("size", (48,), r"crossing.size is \(48,\)"),
        ("size", (48, "a"), r"crossing.size is \(48, .a.\)"),
    ],
)
def test_unknown_recipes_and_sizes_are_refused_before_any_work(tmp_path, option, value, message):
    config = get_config("tiny").to_dict()
    config["crossing"][option] = value
    with pytest.raises(ValueError, match=message):
        crossing.begin(config, tmp_path)
    assert not list(tmp_path.iterdir())
