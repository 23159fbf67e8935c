"""How far generated sets are from the target, from their sources and from the truth."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreid.data import Split
from jaxreid.evaluation import pairs
from jaxreid.evaluation.frechet import moments
from jaxreid.evaluation.quality import (
    FeatureNet,
    frechet_between,
    image_features,
    kernel_between,
    precision_recall_between,
)
from jaxreid.stages import quality
from jaxreid.stages.arms import Trained
from jaxreid.stages.domains import Domains
from jaxreid.stages.sets import Generated
from jaxreid.training import run_once
from jaxreid.training.workdir import write_json

OWN = "reid"  # the run's own baseline in the place of a feature network
GUIDES = 10  # outputs per source that the spread of a generator is taken over

Outputs = Callable[[np.ndarray, int], np.ndarray]
"""Rows ``[n]`` of the source's training images and a number k to the k-th of their outputs, uint8
``[n, H, W, 3]``, the same for the same arguments: a generator that gives several for one source."""


def require(features: str, trunk: str, size: tuple[int, int]) -> None:
    """Finds out before any work whether the networks that measure are there and take the images.

    Raises:
        FileNotFoundError: weights are missing; the message says how to get them.
        ValueError: no such network, or images too small for LPIPS.
    """
    if features != OWN:
        quality.feature_net(features)
    if trunk:
        lpips, blank = quality.lpips(trunk), np.zeros((1, *size, 3), np.float32)
        lpips(blank, blank)


def measure(
    directory: Path,
    data: Domains,
    made: Mapping[str, Generated],
    baseline: Trained,
    *,
    features: str,
    trunk: str,
    seed: int,
    outputs: Mapping[str, Outputs] | None = None,
) -> dict[str, dict[str, float]]:
    """Distances of the source and of every generated set; worked out once.

    ``source`` is the source as it is. ``floor`` is one half of the target against the other: what
    equal sets of half the size come to. ``colour/spread`` is the standard deviation of the images'
    mean colours (root mean square over channels) over that of the target: a translator that gives
    all images one tint stays far below the 1 of a target of several cameras.

    Args:
        directory: for ``distances.json``.
        data: both sets; the target's training images are what sets are compared with.
        made: generated sets by name; that named ``oracle`` is what others should have been.
        baseline: the network of direct transfer, which sees people if ``features`` is ``reid``.
        features: ``reid``, or a name in ``quality.NAMES``.
        trunk: of LPIPS, ``alexnet`` or ``vgg16``; empty for none.
        seed: of random pairs and subsets.
        outputs: by names of ``made``, further outputs of the generator: with LPIPS, their spread
            over ``GUIDES`` of them is measured. A translator with one output has none to measure.

    Returns:
        By set, distances by key: see ``evaluation.quality.Distance`` and ``evaluation.pairs``; and
        ``d/NETWORK`` features, ``N/images`` of the set and ``N/compared_with``, which a Frechet
        distance depends on: it is biased upwards, the more the fewer images there are per feature.
    """
    drawn = outputs or {}

    def make() -> None:
        size = data.source.train.size
        net = _own(baseline, size) if features == OWN else quality.feature_net(features)
        found = _between_sets(net, data, made, seed)
        whole = colour_spread(data.target.train)
        for name, split in _sets(data, made).items():
            found[name]["colour/spread"] = colour_spread(split) / whole
        if trunk:
            lpips = quality.lpips(trunk)
            for name, values in _between_pictures(lpips, data, made, seed).items():
                found[name] |= values
            for name, draw in drawn.items():
                found[name]["lpips/generated_spread"] = spread(lpips, data, draw, seed)
        write_json(directory / "distances.json", found)

    determined_by = {
        "baseline": baseline.made_by,
        "data": data.made_by,
        "sets": {name: each.made_by for name, each in made.items()},
        "measures": [features, trunk, seed],
    }
    determined_by |= {"spread": sorted(drawn)} if drawn and trunk else {}
    run_once(directory, determined_by, make)
    return json.loads((directory / "distances.json").read_text())


def spread(
    lpips: pairs.Measure, data: Domains, draw: Outputs, seed: int, guides: int = GUIDES
) -> float:
    """Mean LPIPS between outputs of one source image; see ``evaluation.pairs.spread``."""
    rows = pairs.chosen_rows(len(data.source.train), seed=seed)
    return pairs.spread(lpips, lambda at, k: _scaled(draw(at, k)), rows, guides).mean


def colour_spread(split: Split, batch: int = 64) -> float:
    """Standard deviation of mean colours over images, in levels; root mean square over channels."""
    parts = np.array_split(np.arange(len(split)), -(-len(split) // batch))
    colours = np.concatenate([split.images(rows).mean((1, 2)) for rows in parts])
    return float(np.sqrt(colours.var(0).mean()))


def _sets(data: Domains, made: Mapping[str, Generated]) -> dict[str, Split]:
    return {"source": data.source.train} | {name: each.split for name, each in made.items()}


def _own(baseline: Trained, size: tuple[int, int]) -> FeatureNet:
    """The test embedding of the run's own baseline."""
    net, variables = baseline.model()

    @jax.jit
    def features(images: jax.Array) -> jax.Array:
        outputs: Any = net.apply(variables, images)
        return outputs["test"]

    dim = jax.eval_shape(features, jax.ShapeDtypeStruct((1, *size, 3), np.float32)).shape[-1]
    return FeatureNet("reid_baseline", "test", dim, features)


def _between_sets(
    net: FeatureNet, data: Domains, made: Mapping[str, Generated], seed: int
) -> dict[str, dict[str, float]]:
    target = _features(net, data.target.train)
    halves = np.random.default_rng((seed, 3)).permutation(len(target))
    sets = _sets(data, made).items()
    compared = {name: (_features(net, split), target) for name, split in sets}
    compared["floor"] = target[halves[::2]], target[halves[1::2]]
    found = {}
    for name, (these, those) in compared.items():
        both = frechet_between(net, moments(these), moments(those))
        subsets = kernel_between(net, these, those, seed=seed)
        shares = precision_recall_between(net, these, those)
        found[name] = {each.key: each.value for each in (both, subsets, *shares)}
        found[name] |= {f"d/{both.key.partition('/')[2]}": net.dim}
        found[name] |= {"N/images": len(these), "N/compared_with": len(those)}
    return found


def _between_pictures(
    lpips: pairs.Measure, data: Domains, made: Mapping[str, Generated], seed: int
) -> dict[str, dict[str, float]]:
    source, target = data.source.train, data.target.train
    drawn = pairs.random_pairs(len(source), len(target), seed=seed)
    apart = pairs.paired(lpips, _floats(source), _floats(target), drawn)
    found = {"source": {"lpips/source_target": apart.mean}}
    rows = pairs.chosen_rows(len(source), seed=seed)
    for name, each in made.items():
        own = pairs.paired(lpips, _floats(source), _floats(each.split), (rows, rows))
        found[name] = {"lpips/source_generated": own.mean}
        if "oracle" in made and name != "oracle":
            truth = _floats(made["oracle"].split)
            missed = pairs.paired(lpips, _floats(each.split), truth, (rows, rows))
            found[name]["lpips/oracle"] = missed.mean
    return found


def _features(net: FeatureNet, split: Split, batch: int = 64) -> np.ndarray:
    images, rows = _floats(split), np.arange(len(split))
    return image_features(net, (images(rows[at : at + batch]) for at in range(0, len(rows), batch)))


def _floats(split: Split) -> pairs.Images:
    return lambda rows: _scaled(split.images(rows))


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 127.5 - 1
