"""HHL: batches, pseudo-identities and triplets by hand, which layers are slow, refusals."""

import importlib
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from jaxreid.stages import reid
from jaxreid.systems import hhl

ALL = ("source", "target", "rendered")
RNG = np.random.default_rng(3)


def found(parts, labels, over=ALL, margin=1.0, weight=1.0, cameras=1, calls=None):
    """Terms of the loss when the triplets' embedding is the image itself, of two people."""

    def forward(stats, images, key):
        if calls is not None:
            calls.append(len(images))
        logits = jnp.zeros((len(images), 2))
        return {"metric": images, "logits": logits}, stats + 1

    batch = {f"{name}_image": jnp.asarray(part) for name, part in parts.items()}
    batch |= {"image": jnp.zeros((128, 1)), "label": jnp.zeros(128, int)}
    batch["source_label"] = jnp.asarray(labels)
    options = {"over": over, "margin": margin, "weight": weight, "cameras": cameras}
    return hhl.hhl_loss(forward, 0, batch, jax.random.key(0), **options)


@pytest.mark.parametrize(("cameras", "total"), [(6, 176), (8, 208)])
def test_batches_of_the_paper(monkeypatch, cameras, total):
    options = importlib.import_module("configs.hhl").get_config("paper").to_dict()
    assert options["reid"]["batch"] == 128 and options["reid"]["epochs"] == 60
    assert (options["hhl"]["weight"], options["hhl"]["margin"]) == (0.5, 0.3)
    people, images, batch = (options["hhl"][name] for name in ("people", "images", "batch"))
    sizes = {"source": people * images, "target": batch, "rendered": batch * cameras}
    parts = {name: RNG.normal(size=(size, 4)) for name, size in sizes.items()}
    seen, calls, honest = [], [], hhl.losses.triplet

    def triplet(embeddings, labels, **options):
        seen.append((embeddings.shape, np.unique(labels, return_counts=True)))
        return honest(embeddings, labels, **options)

    monkeypatch.setattr(hhl.losses, "triplet", triplet)
    labels = np.repeat(np.arange(8) % 2, 8)
    _, passes = found(parts, labels, cameras=cameras, calls=calls)
    assert calls == [128, 64, 16 + 16 * cameras] and passes == 3
    ((shape, (people, counts)),) = seen
    assert shape == (total, 4) and people.tolist() == [0, 1, *range(2, 18)]
    assert counts.tolist() == [32, 32] + [1 + cameras] * 16


@pytest.mark.parametrize(("margin", "expected"), [(1.0, 0.325), (0.3, 0.0)])
def test_the_golden_line(margin, expected):
    line = np.array([[0.0], [0.2], [1.0], [1.3]])
    terms, passes = found({"source": line}, [0, 0, 1, 1], ("source",), margin, 0.5)
    assert float(terms["triplet"]) == pytest.approx(expected / 2) and passes == 2
    assert float(terms["identity"]) == pytest.approx(np.log(2))
    parts = {"target": line[::2], "rendered": line[1::2]}
    terms, passes = found(parts, [], ("target", "rendered"), margin)
    assert float(terms["triplet"]) == pytest.approx(expected) and passes == 2


def by_hand(source, labels, target, rendered, margin):
    """Mean over anchors of a batch-hard triplet, target image i with its renderings as person i."""
    rows = [(("source", int(y)), x) for x, y in zip(source, labels, strict=True)]
    for i, (image, fakes) in enumerate(zip(target, rendered, strict=True)):
        rows += [(("target", i), x) for x in (image, *fakes)]
    values = []
    for person, x in rows:
        apart = [(who == person, float(np.linalg.norm(x - other))) for who, other in rows]
        far, near = max(d for same, d in apart if same), min(d for same, d in apart if not same)
        values.append(max(0.0, margin + far - near))
    return np.mean(values)


def test_triplets_are_the_ones_of_a_slow_loop_in_any_order():
    source, target = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3))
    rendered, labels = target[:, None] + 0.3 * RNG.normal(size=(4, 2, 3)), [0, 1, 1, 0, 1, 0]

    def loss(order):
        fakes = rendered[order].reshape(-1, 3)
        parts = {"source": source, "target": target[order], "rendered": fakes}
        return found(parts, labels, cameras=2)[0]["triplet"]

    expected = by_hand(source, labels, target, rendered, 1.0)
    for order in (np.arange(4), np.array([2, 0, 3, 1])):
        np.testing.assert_allclose(loss(order), expected, rtol=1e-5)
    alone = by_hand(source, labels, target, rendered[:, :0], 1.0)  # domain connectedness
    parts = {"source": source, "target": target}
    terms, _ = found(parts, labels, ("source", "target"))
    np.testing.assert_allclose(terms["triplet"], alone, rtol=1e-5)


def test_renderings_are_found_whatever_their_order():
    names, styles = ("b", "c", "a"), (0, 2, 5)
    made = [(name, style) for style in styles for name in sorted(names)]
    order = RNG.permutation(len(made))
    rendered = SimpleNamespace(
        sources=tuple(made[i][0] for i in order), styles=np.array([made[i][1] for i in order])
    )
    rows = hhl.renderings(Real(names), rendered)
    assert rows.shape == (3, 3)
    for name, own in zip(names, rows, strict=True):
        assert [made[order[row]] for row in own] == [(name, style) for style in styles]


class Real:
    """As much of a split as is read."""

    def __init__(self, names):
        self.names = names

    def __len__(self):
        return len(self.names)


def test_the_classifier_alone_learns_at_the_head_s_rate():
    block = common.reid("tiny").to_dict() | {"head": "fc1024_triplet", "weight_decay": 0.0}
    settings = replace(reid.Settings(**block), rate=0.01, head_rate=0.1)
    shapes = jax.eval_shape(
        lambda: reid.initial(reid.build(settings, 3), jax.random.key(0), (32, 16))
    )
    params = jax.tree.map(lambda x: jnp.zeros(x.shape[:1]), shapes["params"])
    assert {*hhl.SLOW, "classifier"} == set(params["head"])
    for slow, fast in ((hhl.SLOW, {"classifier"}), ((), set(params["head"]))):
        tx = reid.optimiser(settings, 1, slow)
        updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
        for layer, moved in (updates["head"] | {"backbone": updates["backbone"]}).items():
            rate = 0.1 if layer in fast else 0.01
            for leaf in jax.tree.leaves(moved):  # Nesterov's first step is 1.9 times the gradient
                np.testing.assert_allclose(leaf, -1.9 * rate, rtol=1e-5, err_msg=layer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "join some of source, target, rendered"),
        ("source+source", "join some of"),
        ("source+fake", "join some of"),
        ("source+rendered", r"add \+target"),
    ],
)
def test_parts_of_the_batch_are_read_or_refused(text, message):
    assert hhl.parse_over("target+rendered") == ("target", "rendered")
    with pytest.raises(ValueError, match=f"hhl.over is '{text.replace('+', '.')}'.*{message}"):
        hhl.parse_over(text)


@pytest.mark.parametrize(
    ("changes", "head", "message"),
    [
        ({}, "direct", "reid.head is 'direct', but HHL adds"),
        ({"people": 9}, "fc1024", "hhl.people is 9, but the source has 8 identities"),
        ({"people": 1}, "fc1024", "hhl.people is 1"),
        ({"images": 1}, "fc1024", "hhl.images is 1: a positive pair"),
        ({"batch": 41}, "fc1024", "hhl.batch is 41, but there are 40 training images"),
    ],
)
def test_batches_that_cannot_be_drawn_are_refused(changes, head, message):
    source = SimpleNamespace(pids=np.repeat(np.arange(8), 3))
    data = SimpleNamespace(
        source=SimpleNamespace(train=source), target=SimpleNamespace(train=range(40))
    )
    run = SimpleNamespace(reid=SimpleNamespace(head=head), data=data)
    with pytest.raises(ValueError, match=message):
        hhl._require({"people": 2, "images": 2, "batch": 3} | changes, run)
