"""Cross-domain systems: what all do alike around their own translator.

The source's training images in the target's style, a re-ID network trained on them alone, tested in
the target; beside it direct transfer, colour jitter, cut-and-paste and the oracle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.stages import arms, cycle, distances, domain_judge, domains, generate, publish, reid
from jaxreid.stages.domains import Domains
from jaxreid.stages.recipes import LOSSES
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
    options = config["crossing"]
    sets = domains.Settings(**config["data"])
    _require(options)
    distances.require(options["features"], options["lpips"], (sets.height, sets.width))
    common = {"seed": config["seed"], "every": Every(**config["every"])}
    data = domains.prepare(workdir, sets, seed=config["seed"])
    run = Crossing(workdir, config, data, settings, common)
    reid.require(settings, crossed(run), options["parts"])
    if options["judge"]:
        domain_judge.require(settings, data, seed=config["seed"])
    return run


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


def finish(
    run: Crossing,
    translators: Translators,
    second: Callable[[arms.Trained], arms.Trained] | None = None,
) -> dict[str, Any]:
    """Generated set and arm of a translator, all other arms, the report; see ``conclude``.

    ``second`` makes a further arm that begins where the translator's own ends.
    """
    name = run.config["system"]
    made = generate.to_target(run.workdir / "generated", run.data.source.train, translators)
    first = train(run, name, made)
    return conclude(run, [first, *([second(first)] if second else [])], {name: made})


def conclude(
    run: Crossing,
    own: Sequence[arms.Trained],
    made: Mapping[str, Generated] | None = None,
    of_target: Generated | None = None,
    outputs: Mapping[str, distances.Outputs] | None = None,
) -> dict[str, Any]:
    """The arms of a system beside those that all are compared with; the report.

    These are direct transfer, jitter, cut-and-paste where there are masks and the oracle where both
    sets are worlds.

    Args:
        run: see ``begin``.
        own: networks of the system.
        made: its generated sets by arm, made from the source.
        of_target: a set generated from the target's training images, for the report alone.
        outputs: of those with many outputs per source, the way to draw more; see ``distances``.

    Returns:
        What ``results.json`` holds.
    """
    options, made, first, rivals = (
        run.config["crossing"],
        dict(made or {}),
        direct(run),
        _rivals(run),
    )
    jittered = replace(run.reid, jitter=options["jitter"])
    # Where all arms jitter alike, direct transfer is that rival.
    trained = [first, *([train(run, "jitter", settings=jittered)] if jittered != run.reid else [])]
    trained += [*own, *(train(run, arm, learned) for arm, learned in rivals.items())]
    test = crossed(run)
    views = {"": 0} | ({"lmp": options["parts"]} if options["parts"] else {})
    found = [
        arms.score(each, test, view, each.protocol, parts)
        for each in trained
        for view, parts in views.items()
    ]
    apart = distances.measure(
        run.workdir / "_".join(filter(None, ("measures", options["features"], options["lpips"]))),
        *(run.data, made | rivals, first),
        features=options["features"],
        trunk=options["lpips"],
        seed=run.config["seed"],
        outputs=outputs,
    )
    shown, judged = made.get(run.config["system"]), made | rivals
    quality = _judged(run, judged) if options["judge"] and judged else None
    notes = {each.name: each.note for each in trained if each.note}
    given = {"generated": shown, "quality": quality, "distances": apart, "notes": notes}
    if of_target:
        given |= {"generated": of_target, "of": run.data.target.train}
    return publish.publish(run.workdir, run.config, test, found, **given)


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
    """The network of one arm, taught by the source or by a generated set; see ``arms.train``.

    All arms share the recipe of the config: what is lowered and how the network is tested. Norms
    are frozen where weights are given, since those of a random start have seen nothing.
    """
    options, settings = run.config["crossing"], settings or run.reid
    frozen = options["frozen_norms"] and bool(settings.pretrained)
    form = {"mirror": options["mirror"], "frozen_norms": frozen}
    extras = reid.Extras(form=tuple((name, True) for name, on in form.items() if on))
    given = {"loss": LOSSES[options["recipe"]], "extras": extras, **run.common, **further}
    return arms.train(run.workdir, crossed(run, learned), name, settings, **given)


def crossed(run: Crossing, learned: Generated | None = None) -> Sets:
    """What a re-ID network is trained and tested on, in the size that it sees."""
    found = domains.crossed(run.data, learned)
    splits = {name: sized(run, getattr(found, name)) for name in ("train", "query", "gallery")}
    return found._replace(**splits)


def sized(run: Crossing, split: Split) -> Split:
    """A split in the size that re-ID networks see."""
    height, width = run.config["crossing"]["size"]
    return split.resized((height, width)) if height else split


def _rivals(run: Crossing) -> dict[str, Generated]:
    """Generated sets that need no training: cut and paste, and the oracle's."""
    real, found = run.data.source.train, {}
    # Under masks of ones nothing of the target would be seen: that is direct transfer.
    if real.foreground and run.config["data"]["source"]["masks"] != "ones":
        found["cut_and_paste"] = generate.to_target(run.workdir / "pasted", real, paster(run))
    if run.data.truth is not None:
        found["oracle"] = generate.to_target(run.workdir / "truth", real, run.data.truth)
    return found


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
        behind = guides(run, len(split))[rows]
        share = split.masks(rows) / np.float32(255)
        mixed = share * split.images(rows) + (1 - share) * target.images(behind)
        return np.round(mixed).astype(np.uint8)

    made_by = fingerprint({"pasted": run.data.made_by, "seed": seed})
    return Translators({(SOURCE, TARGET): paste}, made_by)


def guides(run: Crossing, count: int, number: int = 0) -> np.ndarray:
    """Rows of target images, one for each of ``count`` source images, drawn anew per ``number``."""
    further = (number,) if number else ()
    rng = np.random.default_rng((run.config["seed"], 2, *further))
    return rng.integers(len(run.data.target.train), size=count)


def _require(options: Mapping[str, Any]) -> None:
    if options["recipe"] not in LOSSES:
        known = ", ".join(LOSSES)
        raise ValueError(f"crossing.recipe is {options['recipe']!r}; choose one of {known}")
    size = tuple(options["size"])
    if [type(side) for side in size] != [int, int] or min(size) < 0 or size.count(0) == 1:
        raise ValueError(
            f"crossing.size is {size}: choose (height, width) of the images that re-ID networks "
            "see, or (0, 0) for data.height and data.width"
        )
