"""Do images translated from one data set to another keep the person and take the target's style?

As in ``judge``, two networks are asked that never saw a generated image. One names people of the
source, of whom a fifth are held out; one tells the two sets apart. They look at translations of
the held-out people. What touches what:

* No identity of the target is read. A fifth of its images are kept from the second judge, too, but
  their people are not: who is on them is not known.
* Translators were trained on all training images of both sets, without identities.
* The test set is not read, and the networks of the arms have no say.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split, held_out
from jaxreid.data.joined import concatenate
from jaxreid.evaluation import Embedded, Protocol, query_scores
from jaxreid.evaluation.checks import check_not_collapsed
from jaxreid.stages import judge as judging
from jaxreid.stages import reid
from jaxreid.stages.domains import Domains, crossed
from jaxreid.stages.judge import HELD_OUT, Judges, Seen
from jaxreid.stages.sets import SOURCE, TARGET, Generated, Sets
from jaxreid.training import Every, run_once
from jaxreid.training.workdir import fingerprint, write_json


class DomainJudges(NamedTuple):
    """Two trained judges of people and of domains.

    Attributes:
        judges: with all images of the held-out people of the source; they say 0 for the source's
            style, 1 for the target's.
        target: images of the target that neither has seen.
    """

    judges: Judges
    target: Split


def require(settings: reid.Settings, data: Domains, *, seed: int) -> None:
    """Finds out before any training whether there can be judges.

    Raises:
        ValueError: too few people or images to hold some out.
    """
    judging.require_lessons(settings, lambda: _lessons(data, seed)[0])


def judge(
    directory: Path,
    data: Domains,
    settings: reid.Settings,
    *,
    jitter: float,
    seed: int,
    every: Every,
) -> DomainJudges:
    """Trains the judges, once; see ``judge.judge``.

    The judge of people learns from images of jittered colours, 0 for none: else it knows people in
    the source's style alone, and misses them the more the better a translator is. The judge of
    domains sees colours as they are.
    """
    lessons, held, target = _lessons(data, seed)
    each = [replace(settings, jitter=jitter), replace(settings, jitter=0.0)]
    taught = judging.teach(directory, lessons, held, each, seed=seed, every=every)
    return DomainJudges(taught, target)


def quality(
    directory: Path, judges: DomainJudges, made: Mapping[str, Generated]
) -> dict[str, dict[str, float]]:
    """Scores of generated sets by name, beside two that need no translator; worked out once.

    ``recognised``: mAP of a set's images of held-out people that search the real images of all
    held-out people in other cameras of the source. It falls where the person is lost, and with
    every change of style that the judge of people does not overlook: the oracle's, which have the
    target's viewpoint, too, are no upper bound of it. ``target_style``: share of images that the
    other judge takes for the target's. ``untranslated`` has both for the real images of the
    held-out people, ``real`` the second for real images of the target.

    Args:
        directory: for ``scores.json``.
        judges: see ``judge``.
        made: sets by name; one without an image of a held-out person gets no scores.
    """

    def make() -> None:
        found = {name: score(judges, each.split) for name, each in made.items()}
        found |= _references(judges)
        write_json(directory / "scores.json", {name: s for name, s in found.items() if s})

    sets = {name: each.made_by for name, each in made.items()}
    run_once(directory, {"judges": judges.judges.made_by, "sets": sets}, make)
    scores = json.loads((directory / "scores.json").read_text())
    return {name: scores[name] for name in ("real", "untranslated", *made) if name in scores}


def score(judges: DomainJudges, generated: Split) -> dict[str, float]:
    """Scores those images of a generated set that show held-out people; see ``quality``."""
    rows, sources = judging.of_held_people(judges.judges.held, generated)
    if not len(rows):
        return {}
    seen = judges.judges.look(lambda picked: generated.images(rows[picked]), len(rows))
    return _scores(judges.judges, seen, sources)


def _scores(judges: Judges, seen: Seen, sources: np.ndarray) -> dict[str, float]:
    held = judges.held
    real = Embedded(judges.real().embeddings, held.pids, held.cameras)
    check_not_collapsed(real)
    query = Embedded(seen.embeddings, held.pids[sources], held.cameras[sources])
    ap = query_scores(query, real, Protocol(mask="same_camera")).ap
    style = float(np.mean(seen.said == TARGET))
    return {"recognised": float(np.nanmean(ap)), "target_style": style}


def _references(judges: DomainJudges) -> dict[str, dict[str, float]]:
    untranslated = _scores(judges.judges, judges.judges.real(), np.arange(len(judges.judges.held)))
    target = judges.judges.look(judges.target.images, len(judges.target))
    real = {"target_style": float(np.mean(target.said == TARGET))}
    return {"real": real, "untranslated": untranslated}


def _lessons(data: Domains, seed: int) -> tuple[dict[str, Sets], Split, Split]:
    """What each judge is taught, as identities; the held-out source people; target images."""
    source, target = data.source.train, data.target.train
    count = max(1, round(HELD_OUT * len(np.unique(source.pids))))
    people, _, held = held_out(source, count, seed)
    drawn = np.random.default_rng((seed, 4)).random(len(target)) < HELD_OUT
    both = concatenate([people, target.take(~drawn)])
    domain = np.repeat([SOURCE, TARGET], [len(people), int((~drawn).sum())])
    taught = {"person": people, "domain": replace(both, pids=domain)}
    made_by = {"data": data.made_by, "held_out": count, "seed": seed}
    lessons = {
        name: crossed(data)._replace(train=split, made_by=fingerprint(made_by | {"taught": name}))
        for name, split in taught.items()
    }
    return lessons, held, target.take(drawn)
