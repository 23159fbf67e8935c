"""Training and embedding where every image goes through the stream of its own modality."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxreid.data import Split, augment, prefetch
from jaxreid.nets.convert_streams import load_streams
from jaxreid.nets.streams import MODALITIES
from jaxreid.stages import embedding
from jaxreid.stages.arms import checksum
from jaxreid.stages.modal_batches import Drawn, batches
from jaxreid.stages.modal_turn import ModalLoss, Settings, build, identity_loss, program
from jaxreid.stages.scoring import Features
from jaxreid.stages.sets import Generated, Sets, require_batch
from jaxreid.training import Every, State, create, divided, fit, initialiser, remembered, run_once

__all__ = ["Settings", "identity_loss", "require", "train"]


def require(settings: Settings, data: Sets, name: str = "modal") -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Raises:
        ValueError: more people in a batch than there are, a batch that the devices cannot split,
            images smaller than the crop, settings that make no network, weights that do not fit.
        FileNotFoundError: ``settings.pretrained`` names no file.
    """
    people = len(np.unique(data.train.pids))
    if not 2 <= settings.batch <= people:
        raise ValueError(
            f"{name}.batch is {settings.batch}, but there are {people} training people, and each "
            f"is in a batch once at most: choose 2 to {people}"
        )
    require_batch(f"{name}.batch", settings.batch)
    if any(want > have for want, have in zip(settings.size, data.train.size, strict=True)):
        raise ValueError(
            f"{name}.size is {tuple(settings.size)}, cropped from images of {data.train.size}: "
            "raise data.height and data.width"
        )
    if settings.pretrained and not Path(settings.pretrained).is_file():
        raise FileNotFoundError(f"{name}.pretrained is {settings.pretrained!r}: no such file")
    try:
        shapes = jax.eval_shape(
            partial(_fresh, build(settings, people), settings.size), jax.random.key(0)
        )
    except ValueError as error:
        raise ValueError(f"the settings under {name} make no network. {error}") from error
    if settings.pretrained:
        load_streams(settings.pretrained, shapes)


def train(
    workdir: Path,
    data: Sets,
    name: str,
    settings: Settings,
    loss: ModalLoss = identity_loss,
    options: Any = None,
    *,
    seed: int,
    every: Every,
    generated: Generated | None = None,
) -> list[Features]:
    """Trains the network of one arm below ``workdir``, once.

    Args:
        workdir: of the whole run.
        data: training images of both modalities.
        name: of the arm; its directory is ``reid_<name>``.
        settings: see ``Settings``.
        loss: see ``modal_turn.ModalLoss``.
        options: what ``loss`` gets as its third argument; a dataclass of plain values, or None.
        seed: of initialisation, batches, augmentation and dropout.
        every: how often to log and save.
        generated: every training image in the other modality, in the order of the split.

    Returns:
        The test features of the last step, and those of ``settings.kept``, if any.

    Raises:
        ValueError: ``generated`` was not made of the training images, one by one and in order.
    """
    if generated is not None:
        _require_converted(generated.split, data.train)
    if generated is None:  # then these are not read, and arms that differ in them are one
        settings = replace(settings, form="", converted_people=0)
    directory = workdir / f"reid_{name}"
    training = partial(
        _train, directory, data.train, settings, loss, options, generated, seed, every
    )
    determined_by = {
        "modal": asdict(settings),
        "loss": {"name": loss.__name__, **(asdict(options) if options else {})},
        "seed": seed,
        "data": data.made_by,
        "size": list(data.train.size),
        "generated": generated.made_by if generated else "",
        "pretrained": checksum(settings.pretrained),
    }
    made_by = run_once(directory, determined_by, partial(training, settings.steps), trains=True)
    people = len(np.unique(data.train.pids))
    net = build(settings, people)

    def features(step: int) -> Features:
        # Called again, a finished training only reads the checkpoint of this step.
        variables = remembered(partial(training, step))
        embed = partial(_embed, net, variables, settings)
        made = f"{made_by} {step}"
        if step == settings.steps:
            return Features(name, directory, embed, made, data.train)
        kept = f"step_{step}"
        return Features(f"{name}_{kept}", directory / kept, embed, made, data.train)

    return [features(step) for step in (settings.steps, settings.kept) if step]


def _require_converted(made: Split, real: Split) -> None:
    """Raises ValueError unless row i of ``made`` was converted from row i of ``real``."""
    pairs = zip_longest(made.sources, real.names, fillvalue="nothing")
    for row, (source, name) in enumerate(pairs):
        if source != name:
            raise ValueError(
                f"converted image {row} was made of {source}, but training image {row} is {name}: "
                "every training image needs one converted image, in the order of the split"
            )


def _train(
    directory: Path,
    real: Split,
    settings: Settings,
    loss: ModalLoss,
    options: Any,
    generated: Generated | None,
    seed: int,
    every: Every,
    steps: int,
) -> Mapping[str, Any]:
    net, tx, step = program(settings, len(np.unique(real.pids)), loss, options)
    draw = batches(real, settings, seed)

    def images(drawn: Drawn) -> np.ndarray:
        found = real.images(drawn.rows)
        if generated is not None and drawn.converted.any():
            found[drawn.converted] = generated.split.images(drawn.rows[drawn.converted])
        return found

    def batch(step: int) -> dict[str, np.ndarray]:
        arrays = {}
        for name, drawn in zip(MODALITIES, draw(step), strict=True):
            arrays |= {f"{name}_image": images(drawn), f"{name}_converted": drawn.converted}
            arrays[f"{name}_label"] = drawn.people.astype(np.int32)
        return arrays

    def init() -> State:
        key = jax.random.key(seed)
        variables = _fresh(net, settings.size, key)
        if settings.pretrained:
            variables, report = load_streams(settings.pretrained, variables)
            print(f"{directory.name}: {settings.pretrained}: {report.describe()}", flush=True)
        elif settings.net == "alexnet":
            said = "AlexNet begins at random, not with ImageNet's weights (modal.pretrained)"
            print(f"warning: {directory.name}: {said}", flush=True)
        return create(jax.random.fold_in(key, 0), {"reid": variables}, tx)

    state = fit(
        init,
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=steps,
        directory=directory,
        every=every,
        keep=[settings.kept] if settings.kept else [],
    )
    trained = state.nets["reid"]
    return {"params": trained.params, "batch_stats": trained.stats}


@partial(initialiser, static_argnums=(0, 1))
def _fresh(net: nn.Module, size: tuple[int, int], key: jax.Array) -> Any:
    blank = jnp.zeros((1, *size, 3))
    return net.init(key, blank, blank)


@partial(jax.jit, static_argnums=(0, 3))
def _look(net: nn.Module, variables, images: jax.Array, modality: str) -> jax.Array:
    outputs: Any = net.apply(variables, augment.to_float(images), modality, method="embed")
    return outputs["test"]


def _embed(
    net: nn.Module, variables: Callable[[], Mapping[str, Any]], settings: Settings, split: Split
) -> np.ndarray:
    """Test embeddings ``[n, D]`` of all images, in their order.

    Batches hold images of one modality. Where their statistics count, nothing fills up the last.
    """
    seen, parts, order = split.resized(settings.size), [], []
    fill = settings.fc6_bn_eval != "batch"
    for number, modality in enumerate(MODALITIES):
        rows = np.flatnonzero(split.modalities == number)

        def look(rows: np.ndarray, modality=modality) -> np.ndarray:
            return np.asarray(_look(net, variables(), divided(seen.images(rows)), modality))

        if len(rows):
            parts.append(embedding.by_batches(look, rows, settings.batch, fill))
            order.append(rows)
    return np.concatenate(parts)[np.argsort(np.concatenate(order))]
