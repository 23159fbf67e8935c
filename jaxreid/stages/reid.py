"""Re-ID training: the network of one arm of an experiment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreid.data import Plan, Split, companions, pk, shuffled, stream
from jaxreid.nets.convert import load_pretrained
from jaxreid.nets.reid import ReID
from jaxreid.stages.embedding import Model
from jaxreid.stages.reid_turn import (
    ReidLoss,
    Render,
    Settings,
    build,
    identity_loss,
    initial,
    optimiser,
    program,
)
from jaxreid.stages.sets import Sets, require_batch
from jaxreid.training import State, Step, create

__all__ = [
    "PLAIN",
    "Extras",
    "Joined",
    "ReidLoss",
    "Render",
    "Settings",
    "Training",
    "build",
    "companions_each",
    "identity_loss",
    "initial",
    "loaded",
    "optimiser",
    "program",
    "require",
    "require_generated",
    "require_one",
    "training",
]


def require(settings: Settings, data: Sets, parts: int = 0) -> None:
    """Finds out before any training whether ``data`` can be trained and tested on.

    ``parts`` are stripes of local max pooling in the test, 0 for none.

    Raises:
        ValueError: one identity, fewer images than a batch, a batch that the devices cannot split,
            settings or images that make no network, weights that are not the backbone's.
        FileNotFoundError: ``settings.pretrained`` names no file.
    """
    if settings.pretrained and not Path(settings.pretrained).is_file():
        raise FileNotFoundError(f"reid.pretrained is {settings.pretrained!r}: no such file")
    images, identities = len(data.train), len(np.unique(data.train.pids))
    if identities < 2:
        raise ValueError(f"the training split holds {identities} identity; at least 2 are needed")
    require_batch("reid.batch", settings.batch, images)
    require_batch("reid.generated_batch", settings.generated_batch)
    if settings.images_per_identity and settings.identities > identities:
        raise ValueError(
            f"reid.batch / reid.images_per_identity is {settings.identities}, but the training "
            f"split has {identities} identities: lower reid.batch"
        )
    net, size = build(settings, identities).clone(parts=parts), data.train.size
    try:
        shapes = jax.eval_shape(lambda: initial(net, jax.random.key(0), size))
    except ValueError as error:
        raise ValueError(f"the settings under reid make no network. {error}") from error
    if settings.pretrained:
        load_pretrained(settings.pretrained, shapes)


@dataclass(frozen=True)
class Extras:
    """What an arm trains with beside real images, as far as it decides the result.

    Attributes:
        companions: given, a step's generated images are made from its real ones: of each real image
            ``generated_batch / batch``, drawn among these groups of styles. Group g joins when
            ``g / len(companions)`` of the steps are done. Without, generated images are a stream of
            their own that runs on over epochs.
        classes: logits beyond the identities.
        form: further fields of ``nets.reid.ReID``, such as ``mirror``.
    """

    companions: tuple[tuple[int, ...], ...] = ()
    classes: int = 0
    form: tuple[tuple[str, Any], ...] = ()


PLAIN = Extras()


class Joined(NamedTuple):
    """What joins the real images of every step, beyond a generated set.

    Attributes:
        arrays: further arrays of the batch by name, a pure function first of the network's seed,
            then of the step; those whose name ends with ``image`` are augmented like the real ones.
        made_by: fingerprint of all of this.
        frozen: variables of networks that steps apply and nobody trains, by name; made when needed.
        render: turns nets, batch and key into another batch, inside the step, before augmentation.
    """

    arrays: Callable[[int], Callable[[int], Mapping[str, np.ndarray]]]
    made_by: str
    frozen: Callable[[], Mapping[str, Any]] = dict
    render: Render | None = None


class Training(NamedTuple):
    """What ``fit`` needs to train one network.

    Attributes:
        net: the network.
        init: the state before the first step.
        step: of training.
        batch: pure function of the step.
        steps: how many.
    """

    net: ReID
    init: Callable[[], State]
    step: Step
    batch: Callable[[int], dict[str, np.ndarray]]
    steps: int


def training(
    real: Split,
    settings: Settings,
    *,
    loss: ReidLoss = identity_loss,
    generated: Split | None = None,
    extras: Extras = PLAIN,
    joined: Joined | None = None,
    start: Callable[[], Model] | None = None,
    slow: tuple[str, ...] = (),
) -> Callable[[int], Training]:
    """The training of a re-ID network by its seed.

    Args:
        real: training images; labels are positions among their sorted identities.
        settings: see ``Settings``.
        loss: ``loss(forward, stats, batch, key) -> (terms, stats)``; the sum of terms is
            minimised. ``forward(stats, images, key)`` runs the network in training mode.
            ``batch`` has ``image`` and ``label``, from ``generated`` the same two with the
            prefix ``generated_``, and ``epoch``, a scalar; images are augmented floats.
        generated: images made from ``real``, of the same identities or of nobody.
        extras: see ``Extras``.
        joined: see ``Joined``.
        start: a model of the same backbone, whose backbone this one begins with.
        slow: layers of the head that learn at the backbone's rate.

    Returns:
        ``of(seed)``; the seed is that of initialisation, batches, augmentation and dropout. It
        raises ValueError where a real image has no companion among the first group of styles, or
        ``generated_batch`` is no multiple of ``batch`` and has to be.
    """
    people, images = np.unique(real.pids), loaded(real, settings)
    fakes = None if generated is None else loaded(generated, settings)

    def of(seed: int) -> Training:
        plan = _plan(real, settings, seed)
        each, steps = plan.steps_per_epoch, plan.steps_per_epoch * settings.epochs
        render, classes = joined.render if joined else None, len(people) + extras.classes
        net, tx, step = program(settings, classes, each, loss, render, extras.form, slow)
        sources: dict[str, tuple[Split, Callable[[int], np.ndarray]]] = {"": (images, plan)}
        if fakes is not None:
            draw = _beside(plan, real, fakes, settings, extras.companions, steps, seed)
            sources["generated_"] = fakes, draw
        further = joined.arrays(seed) if joined else lambda _: {}

        def batch(step: int) -> dict[str, np.ndarray]:
            arrays = {}
            for prefix, (split, draw) in sources.items():
                rows = draw(step)
                arrays[prefix + "image"] = split.images(rows)
                labels = np.searchsorted(people, split.pids[rows])
                arrays[prefix + "label"] = labels.astype(np.int32)
            return arrays | dict(further(step))

        def init() -> State:
            key = jax.random.key(seed)
            variables = initial(net, key, real.size)
            if settings.pretrained:
                variables, report = load_pretrained(settings.pretrained, variables)
                print(f"{settings.pretrained}: {report.describe()}", flush=True)
            if start:
                variables = begin_with(variables, start().variables)
            frozen = joined.frozen() if joined else {}
            return create(jax.random.fold_in(key, 0), {"reid": variables, **frozen}, tx)

        return Training(net, init, step, batch, steps)

    return of


def begin_with(variables: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """``variables`` with the backbone of ``other``."""
    found = {}
    for kind, tree in variables.items():
        taken = {"backbone": other[kind]["backbone"]} if "backbone" in tree else {}
        found[kind] = {**tree, **taken}
    return found


def _plan(real: Split, settings: Settings, seed: int) -> Plan[np.ndarray]:
    if settings.images_per_identity:
        return pk(real.pids, settings.identities, settings.images_per_identity, seed)
    return shuffled(len(real), settings.batch, seed)


def _beside(plan, real, generated, settings, groups, steps, seed) -> Callable[[int], np.ndarray]:
    if not groups:
        return stream(len(generated), settings.generated_batch, (seed, 1))
    return companions(
        plan,
        real.names,
        (generated.sources, generated.styles),
        groups,
        each=companions_each(settings),
        steps=steps,
        seed=(seed, 2),  # the plan itself draws from (seed, 1)
    )


def companions_each(settings: Settings) -> int:
    """Generated images that accompany each real one.

    Raises:
        ValueError: a batch does not hold equally many of each.
    """
    each, rest = divmod(settings.generated_batch, settings.batch)
    if rest or not each:
        raise ValueError(
            f"reid.generated_batch is {settings.generated_batch}, reid.batch {settings.batch}: "
            "every real image takes as many generated ones with it, so make the first a multiple"
        )
    return each


def require_generated(settings: Settings) -> None:
    """Raises ValueError unless every step has generated images."""
    if settings.generated_batch < 1:
        raise ValueError(
            f"reid.generated_batch is {settings.generated_batch}, but every step of this system "
            "needs at least one generated image"
        )


def require_one(settings: Settings, system: str) -> None:
    """Raises ValueError unless arms have one network each, as systems need that go on with it."""
    if settings.seeds > 1:
        raise ValueError(
            f"reid.seeds is {settings.seeds}, but {system} goes on with the one network that it "
            "has: run it once for every --config.seed"
        )


def loaded(split: Split, settings: Settings) -> Split:
    """The split at the size that ``settings.crop`` asks for, as the real images are loaded."""
    if settings.crop != "larger":
        return split
    return split.resized((split.size[0] + 2 * settings.pad, split.size[1] + 2 * settings.pad))
