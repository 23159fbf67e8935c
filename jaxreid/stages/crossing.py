"""Cross-domain systems: what all do alike around their own translator.

The source's training images in the target's style, a re-ID network trained on them alone, tested in
the target; beside it direct transfer, colour jitter, cut-and-paste and the oracle.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.stages import arms, cycle, domains, generate, publish, reid
from jaxreid.stages.domains import Domains
from jaxreid.stages.sets import SOURCE, TARGET, Generated, Sets, Translators
from jaxreid.training import Every
from jaxreid.training.workdir import fingerprint


class Crossing(NamedTuple):
    """A run before its translator is trained.

    Attributes:
        workdir: of the run.
        config: the whole configuration.
        data: both sets.
        reid: settings of the re-ID network of every arm.
        common: seed and logging.
    """

    workdir: Path
    config: Mapping[str, Any]
    data: Domains
    reid: reid.Settings
    common: dict[str, Any]


def begin(config: Mapping[str, Any], workdir: Path) -> Crossing:
    """Prepares both sets and refuses what cannot be trained; see ``configs.common.crossing``."""
    settings = reid.Settings(**config["reid"])
    common = {"seed": config["seed"], "every": Every(**config["every"])}
    data = domains.prepare(workdir, domains.Settings(**config["data"]), seed=config["seed"])
    reid.require(settings, domains.crossed(data), config["crossing"]["parts"])
    return Crossing(workdir, config, data, settings, common)


def translate(run: Crossing, settings: cycle.Settings, method: cycle.Method) -> Translators:
    """Trains the translator between source and target."""
    styles, pairs = domains.styles(run.data), [(SOURCE, TARGET)]
    cycle.require(settings, styles, pairs, method)
    if method.masks:
        domains.require_masks(run.data)
    return cycle.train(
        run.workdir / "translator",
        *(styles, pairs, settings),
        **run.common,
        method=method,
        names=domains.NAMES,
    )


def steps(run: Crossing, settings: cycle.Settings) -> int:
    """Of the translator's training; the smaller of the two sets makes an epoch."""
    return cycle.length(settings, domains.styles(run.data), [(SOURCE, TARGET)], min)


def finish(run: Crossing, translators: Translators) -> dict[str, Any]:
    """All arms, the system's by ``translators``; the report.

    Returns:
        What ``results.json`` holds.
    """
    options, name = run.config["crossing"], run.config["system"]
    plain = replace(run.reid, generated_batch=0)
    jittered = replace(plain, jitter=options["jitter"])
    train = partial(_train, run, options["parts"])
    fakes = generate.to_target(run.workdir / "generated", run.data.source.train, translators)
    found = [*train("baseline", plain), *train("jitter", jittered)]
    if run.data.source.train.foreground:
        pasted = generate.to_target(run.workdir / "pasted", run.data.source.train, paster(run))
        found += train("cut_and_paste", plain, pasted)
    found += train(name, plain, fakes)
    if run.data.truth is not None:
        true = generate.to_target(run.workdir / "truth", run.data.source.train, run.data.truth)
        found += train("oracle", plain, true)
    test = domains.crossed(run.data)
    return publish.publish(run.workdir, run.config, test, found, fakes)


def paster(run: Crossing) -> Translators:
    """Cut and paste, which needs no network: people cut out, upon any training image of the target.

    Whoever is on that image stays in the background, as far as they are not covered.
    """
    target, seed = run.data.target.train, run.config["seed"]

    def paste(split: Split, rows: np.ndarray) -> np.ndarray:
        behind = np.random.default_rng((seed, 2)).integers(len(target), size=len(split))[rows]
        share = split.masks(rows) / np.float32(255)
        mixed = share * split.images(rows) + (1 - share) * target.images(behind)
        return np.round(mixed).astype(np.uint8)

    made_by = fingerprint({"pasted": run.data.made_by, "seed": seed})
    return Translators({(SOURCE, TARGET): paste}, made_by)


def _train(
    run: Crossing, parts: int, name: str, settings: reid.Settings, learned: Generated | None = None
) -> list[arms.Arm]:
    """One arm, ranked by the whole image and, with ``parts``, by local max pooling."""
    data: Sets = domains.crossed(run.data, learned)
    trained = arms.train(run.workdir, data, name, settings, **run.common)
    test = domains.crossed(run.data)
    scored = [arms.score(trained, test)]
    return scored + ([arms.score(trained, test, "lmp", parts=parts)] if parts else [])
