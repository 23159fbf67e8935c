"""Do generated images keep the person and take the target's style?

Some training people are held out. Two networks, the judges, are trained on the real images of the
others: one names people, one names cameras. They then look at translated images of the held-out
people, beside the real ones. What touches what:

* The judges never see a held-out person, nor any generated image.
* Translators were trained on all training images, held-out people among them, without identities.
* The networks of the arms are trained on all training people, and have no say here.
* The test set is not read, so a checkpoint may be chosen by these scores.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreid.data import Split, augment, held_out
from jaxreid.data.pictures import decode, encode_png
from jaxreid.evaluation import Embedded, Protocol, query_scores
from jaxreid.evaluation.checks import check_not_collapsed
from jaxreid.nets.reid import ReID
from jaxreid.stages import arms, reid
from jaxreid.stages.choose import Chooser
from jaxreid.stages.sets import Generated, Sets, Translators
from jaxreid.training import Every, divided, run_once
from jaxreid.training.workdir import fingerprint, write_json

HELD_OUT = 0.2  # of the training people


class Seen(NamedTuple):
    """Images as the judges see them.

    Attributes:
        embeddings: float32 ``[n, d]``, by which people are found.
        said: int64 ``[n]``, the camera that the camera judge names.
        colours: float32 ``[n, 3]`` in [0, 1], the mean colour of each image, which no judge is
            needed for.
    """

    embeddings: np.ndarray
    said: np.ndarray
    colours: np.ndarray


class Judges(NamedTuple):
    """Two trained judges and the images of the people that neither has seen.

    Attributes:
        held: all real images of the held-out people.
        look: ``look(images, count)`` shows both judges ``images(rows)``, rows 0 to count - 1.
        real: ``held`` as they see it.
        made_by: fingerprint of all that made them.
    """

    held: Split
    look: Callable[[Callable[[np.ndarray], np.ndarray], int], Seen]
    real: Callable[[], Seen]
    made_by: str


def require(settings: reid.Settings, data: Sets, *, seed: int) -> None:
    """Finds out before any training whether there can be judges.

    Raises:
        ValueError: too few people or images to hold some out.
    """
    require_lessons(settings, lambda: _lessons(data, seed)[0])


def require_lessons(settings: reid.Settings, lessons: Callable[[], Mapping[str, Sets]]) -> None:
    """Raises ValueError where ``lessons`` cannot be made, or nobody can be taught them."""
    try:
        for lesson in lessons().values():
            reid.require(replace(settings, images_per_identity=0), lesson)
    except ValueError as error:
        raise ValueError(
            f"{HELD_OUT:.0%} of the training people are held out for the judges of generated "
            f"images. {error} Or go without judges."
        ) from error


def judge(
    directory: Path, data: Sets, settings: reid.Settings, *, seed: int, every: Every
) -> Judges:
    """Trains the judges, once.

    Args:
        directory: for checkpoints and metrics.
        data: its training images are used.
        settings: of both networks, those of the run's baseline; images are drawn whoever they show.
        seed: of the held-out people and of both trainings.
        every: how often to log and save.
    """
    lessons, held = _lessons(data, seed)
    return teach(directory, lessons, held, [settings, settings], seed=seed, every=every)


def teach(
    directory: Path,
    lessons: Mapping[str, Sets],
    held: Split,
    settings: Sequence[reid.Settings],
    *,
    seed: int,
    every: Every,
) -> Judges:
    """Trains two judges, once: one of people, one of styles.

    Args:
        directory: for checkpoints and metrics.
        lessons: what each is taught as identities, by name, in this order.
        held: images of people that neither has seen.
        settings: of either network; images are drawn whoever they show.
        seed: of both trainings.
        every: how often to log and save.
    """
    plain = [replace(each, images_per_identity=0, seeds=1) for each in settings]
    judges = [
        arms.train(directory, lesson, name, each, seed=seed, every=every)
        for (name, lesson), each in zip(lessons.items(), plain, strict=True)
    ]
    _, styles = lessons.values()
    look = partial(_look, judges, np.unique(styles.train.pids))
    made_by = fingerprint({"judges": [trained.made_by for trained in judges]})
    return Judges(held, look, cache(lambda: look(held.images, len(held))), made_by)


def score(judges: Judges, generated: Split, *, unified: bool = False) -> dict[str, float]:
    """Scores those images of a generated set that show held-out people.

    Args:
        judges: see ``judge``.
        generated: images with identity, source camera, style and name of the source.
        unified: whether all images were given one common style; else styles are cameras.

    Returns:
        See ``camera_scores`` and ``unified_scores``; nothing for images of nobody.
    """
    rows, sources = of_held_people(judges.held, generated)
    if not len(rows):
        return {}
    seen = judges.look(lambda picked: generated.images(rows[picked]), len(rows))
    return _scores(judges, seen, sources, None if unified else generated.styles[rows])


def quality(
    directory: Path, judges: Judges, generated: Mapping[str, Generated], *, unified: bool = False
) -> dict[str, dict[str, float]]:
    """Scores of generated sets by name, beside two that need no translator; worked out once.

    ``real`` has the accuracy of the camera judge on real images, which no style can be expected to
    exceed. ``untranslated`` has the scores of the first set's sources, as if nothing had been done.

    Args:
        directory: for ``scores.json``.
        judges: see ``judge``.
        generated: sets by name; those of nobody's images get no scores.
        unified: see ``score``.
    """

    def make() -> None:
        found = {name: score(judges, g.split, unified=unified) for name, g in generated.items()}
        found = _references(judges, next(iter(generated.values())).split, unified) | found
        write_json(directory / "scores.json", {name: s for name, s in found.items() if s})

    sets = {name: each.made_by for name, each in generated.items()}
    run_once(directory, {"judges": judges.made_by, "sets": sets, "unified": unified}, make)
    scores = json.loads((directory / "scores.json").read_text())
    names = ["real", "untranslated", *generated]
    return {name: scores[name] for name in names if name in scores}


def chooser(judges: Judges) -> Chooser:
    """Scores translators by ``identity`` on the held-out people, without leaving any files.

    It is meant for checkpoints of one training. Between methods it may prefer the one that changes
    the least; see ``camera_scores``.
    """
    held = judges.held

    def identity(translators: Translators) -> float:
        rows = {pair: np.flatnonzero(held.cameras == pair[0]) for pair in translators.between}
        pairs = [pair for pair in sorted(rows) if len(rows[pair])]

        def translated(pair: tuple[int, int]) -> Seen:
            own, translate = rows[pair], translators.between[pair]
            return judges.look(lambda picked: _sized(translate(held, own[picked]), held), len(own))

        seen = Seen(*map(np.concatenate, zip(*map(translated, pairs), strict=True)))
        sources = np.concatenate([rows[pair] for pair in pairs])
        styles = np.repeat([target for _, target in pairs], [len(rows[pair]) for pair in pairs])
        return _scores(judges, seen, sources, styles)["identity"]

    return Chooser(identity, judges.made_by)


def camera_scores(
    real: Embedded, fake: Seen, sources: np.ndarray, styles: np.ndarray
) -> dict[str, float]:
    """Scores of images that were given the style of another camera.

    ``identity``: mAP with the translated images as queries and the real images of the target
    camera as gallery; it falls where the person is lost, and with every trace of the translation
    that a real image of that camera would not have. Read it beside that of untranslated images: a
    person judge that overlooks cameras well finds these, too, so it cannot tell whether the style
    was taken. That is what ``style`` says.
    ``recognised``: mAP with the real images of the source camera as gallery, but for the very
    image that the query was made from. ``style``: share of images that the camera judge takes for
    the target camera's.

    Args:
        real: G real images.
        fake: n translated images.
        sources: int ``[n]``, row of ``real`` that each was made from.
        styles: int ``[n]``, target camera of each.

    Returns:
        The scores, as fractions; a mAP for which no query has a match is left out.
    """
    check_not_collapsed(real)
    pids, cameras = real.pids[sources], real.cameras[sources]
    # A camera number for every picture: hiding a query's own camera then hides its source alone.
    alone = Embedded(real.embeddings, real.pids, np.arange(len(real)))
    moved, stayed = (Embedded(fake.embeddings, pids, own) for own in (cameras, sources))
    found = {
        "identity": _mean_ap(moved, styles, real, real.cameras),
        "recognised": _mean_ap(stayed, cameras, alone, real.cameras),
        "style": float(np.mean(fake.said == styles)),
    }
    return {name: value for name, value in found.items() if not np.isnan(value)}


def unified_scores(real: Embedded, fake: Seen, sources: np.ndarray) -> dict[str, float]:
    """Scores of images that were all given one common style.

    ``recognised``: mAP with the images as queries and the real images of all cameras but the
    source's as gallery. ``source_camera``: share of images of which the camera judge still names
    the source camera; where all took the style of one camera, it is that camera's share of images,
    and a lower value would be no better. ``between_cameras`` and ``within_cameras``: standard
    deviation, over the three channels, of the cameras' mean colours and of the images' colours
    about that of their camera; the first should fall, the second stay.

    Args:
        real: G real images.
        fake: n translated images.
        sources: int ``[n]``, row of ``real`` that each was made from.
    """
    check_not_collapsed(real)
    query = Embedded(fake.embeddings, real.pids[sources], real.cameras[sources])
    ap = query_scores(query, real, Protocol(mask="same_camera")).ap
    cameras, camera = np.unique(query.cameras, return_inverse=True)
    means = np.stack([fake.colours[query.cameras == c].mean(0) for c in cameras])
    return {
        "recognised": float(np.nanmean(ap)),
        "source_camera": float(np.mean(fake.said == query.cameras)),
        "between_cameras": float(np.sqrt(means.var(0).mean())),
        "within_cameras": float(np.sqrt(np.mean((fake.colours - means[camera]) ** 2))),
    }


def of_held_people(held: Split, generated: Split) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``generated`` that were made from images of ``held``, and the rows of these."""
    at = {name: row for row, name in enumerate(held.names)}
    rows = np.flatnonzero([source in at for source in generated.sources])
    return rows, np.array([at[generated.sources[row]] for row in rows], np.int64)


def _lessons(data: Sets, seed: int) -> tuple[dict[str, Sets], Split]:
    """What each judge is taught, as identities, and the images of the held-out people."""
    count = max(1, round(HELD_OUT * len(np.unique(data.train.pids))))
    rest, _, held = held_out(data.train, count, seed)
    taught = {"person": rest, "camera": replace(rest, pids=rest.cameras)}
    drawn = {"data": data.made_by, "held_out": count, "seed": seed}
    return {
        name: data._replace(train=split, made_by=fingerprint(drawn | {"taught": name}))
        for name, split in taught.items()
    }, held


def _look(judges: Sequence[arms.Trained], cameras: np.ndarray, images, count: int) -> Seen:
    (person, camera), batch = [trained.model() for trained in judges], judges[0].batch
    embeddings, said, colours = [], [], []
    for start in range(0, count, batch):
        rows = np.arange(start, min(start + batch, count))
        shown = images(np.resize(rows, batch))  # filled up with repeats: one program for all
        given = divided(shown)
        embeddings.append(np.asarray(_outputs(*person, given)["test"])[: len(rows)])
        logits = np.asarray(_outputs(*camera, given)["logits"])[: len(rows)]
        said.append(cameras[logits.argmax(axis=1)])
        colours.append(shown[: len(rows)].mean((1, 2), np.float32) / 255)
    return Seen(np.concatenate(embeddings), np.concatenate(said), np.concatenate(colours))


@partial(jax.jit, static_argnums=0)
def _outputs(net: ReID, variables, images: jax.Array) -> Any:
    return net.apply(variables, augment.to_float(images))


def _sized(images: np.ndarray, like: Split) -> np.ndarray:
    """Images as they come back when written and loaded: a renderer's may be larger."""
    if images.shape[1:3] == like.size:
        return images
    return np.stack([decode(encode_png(image), like.size) for image in images])


def _scores(
    judges: Judges, seen: Seen, sources: np.ndarray, styles: np.ndarray | None
) -> dict[str, float]:
    real = Embedded(judges.real().embeddings, judges.held.pids, judges.held.cameras)
    if styles is None:
        return unified_scores(real, seen, sources)
    return camera_scores(real, seen, sources, styles)


def _references(judges: Judges, generated: Split, unified: bool) -> dict[str, dict[str, float]]:
    real = judges.real()
    accuracy = float(np.mean(real.said == judges.held.cameras))
    rows, sources = of_held_people(judges.held, generated)
    if not len(rows):
        return {}
    same = Seen(*(seen[sources] for seen in real))
    return {
        "real": {"source_camera" if unified else "style": accuracy},
        "untranslated": _scores(judges, same, sources, None if unified else generated.styles[rows]),
    }


def _mean_ap(
    query: Embedded, query_groups: np.ndarray, gallery: Embedded, gallery_groups: np.ndarray
) -> float:
    """Mean over all queries that have a match; each searches the gallery of its own group."""
    found = [
        query_scores(query.take(query_groups == g), gallery.take(gallery_groups == g)).ap
        for g in np.intersect1d(query_groups, gallery_groups)
    ]
    ap = np.concatenate(found) if found else np.empty(0)
    ap = ap[~np.isnan(ap)]
    return float(ap.mean()) if len(ap) else float("nan")
