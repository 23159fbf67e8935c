"""Cross-domain systems: what all do alike around their own translator.

The source's training images in the target's style, a re-ID network trained on them alone, tested in
the target; beside it direct transfer, colour jitter, cut-and-paste and the oracle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.stages import arms, cycle, distances, domain_judge, domains, generate, publish, reid
from jaxreid.stages.domains import Domains
from jaxreid.stages.sets import SOURCE, TARGET, Generated, Translators
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
    settings, options = reid.Settings(**config["reid"]), config["crossing"]
    sets = domains.Settings(**config["data"])
    distances.require(options["features"], options["lpips"], (sets.height, sets.width))
    common = {"seed": config["seed"], "every": Every(**config["every"])}
    data = domains.prepare(workdir, sets, seed=config["seed"])
    reid.require(settings, domains.crossed(data), options["parts"])
    if options["judge"]:
        domain_judge.require(settings, data, seed=config["seed"])
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
    """Generated set and arm of a translator, all other arms, the report; see ``conclude``."""
    name = run.config["system"]
    made = generate.to_target(run.workdir / "generated", run.data.source.train, translators)
    return conclude(run, [train(run, name, made)], {name: made})


def conclude(
    run: Crossing,
    own: Sequence[arms.Trained],
    made: Mapping[str, Generated] | None = None,
    outputs: Mapping[str, distances.Outputs] | None = None,
) -> dict[str, Any]:
    """The arms of a system beside those that all are compared with; the report.

    These are direct transfer, jitter, cut-and-paste where there are masks and the oracle where both
    sets are worlds.

    Args:
        run: see ``begin``.
        own: networks of the system.
        made: its generated sets by arm.
        outputs: of those with many outputs per source, the way to draw more; see ``distances``.

    Returns:
        What ``results.json`` holds.
    """
    options, made = run.config["crossing"], dict(made or {})
    real, first, rivals = run.data.source.train, direct(run), {}
    # Under masks of ones nothing of the target would be seen: that is direct transfer.
    if real.foreground and run.config["data"]["source"]["masks"] != "ones":
        rivals["cut_and_paste"] = generate.to_target(run.workdir / "pasted", real, paster(run))
    if run.data.truth is not None:
        rivals["oracle"] = generate.to_target(run.workdir / "truth", real, run.data.truth)
    trained = [first, train(run, "jitter", settings=replace(run.reid, jitter=options["jitter"]))]
    trained += [*own, *(train(run, arm, learned) for arm, learned in rivals.items())]
    test = domains.crossed(run.data)
    views = {"": 0} | ({"lmp": options["parts"]} if options["parts"] else {})
    found = [
        arms.score(each, test, view, parts=parts)
        for each in trained
        for view, parts in views.items()
    ]
    apart = distances.measure(
        run.workdir / "measures",
        *(run.data, made | rivals, first),
        features=options["features"],
        trunk=options["lpips"],
        seed=run.config["seed"],
        outputs=outputs,
    )
    shown, judged = made.get(run.config["system"]), made | rivals
    quality = _judged(run, judged) if options["judge"] and judged else None
    return publish.publish(run.workdir, run.config, test, found, shown, quality, apart)


def direct(run: Crossing) -> arms.Trained:
    """Direct transfer, the baseline: taught by the source as it is."""
    return train(run, "baseline")


def train(
    run: Crossing,
    name: str,
    learned: Generated | None = None,
    *,
    settings: reid.Settings | None = None,
    **further: Any,
) -> arms.Trained:
    """The network of one arm, taught by the source or by a generated set; see ``arms.train``."""
    data = domains.crossed(run.data, learned)
    return arms.train(run.workdir, data, name, settings or run.reid, **run.common, **further)


def _judged(run: Crossing, made: Mapping[str, Generated]) -> dict[str, dict[str, float]]:
    """What judges who know neither the people nor any generated image say of these sets."""
    place, jitter = run.workdir / "judges", run.config["crossing"]["jitter"]
    judges = domain_judge.judge(place, run.data, run.reid, jitter=jitter, **run.common)
    return domain_judge.quality(run.workdir / "quality", judges, made)


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
