"""Re-ID training, embedding and scoring: one arm of an experiment."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreid import losses
from jaxreid.data import Split, augment, labels, prefetch, shuffled, stream
from jaxreid.evaluation import Embedded
from jaxreid.nets.convert import load_pretrained
from jaxreid.nets.efficientnet import EfficientNetLite0
from jaxreid.nets.heads import HEADS
from jaxreid.nets.reid import ReID
from jaxreid.nets.resnet import IBN_STAGES, STAGES, ResNet
from jaxreid.stages.sets import Sets, require_batch
from jaxreid.training import Aux, Every, Phase, State, alternate, create, fit

Outputs = Mapping[str, jax.Array]
Forward = Callable[[Any, jax.Array, jax.Array], tuple[Outputs, Any]]
Terms = dict[str, jax.Array]
ReidLoss = Callable[[Forward, Any, Mapping[str, jax.Array], jax.Array], tuple[Terms, Any]]


@dataclass(frozen=True)
class Settings:
    """One re-ID network and its training.

    Attributes:
        backbone: ``resnet``, or ``efficientnet_lite0``, which the next five do not concern.
        depth: of the ResNet: 18, 34, 50 or 101.
        width: channels of its stem (64 in the paper).
        stem: ``imagenet`` or ``small``.
        last_stride: stride of its last stage, 2 or 1.
        ibn: ``a`` or ``b`` for the forms of IBN-Net, or empty.
        head: a name in ``nets.heads.HEADS``; ``midlevel`` needs depth 34 or more.
        pretrained: path of backbone weights (``.pth``, ``.safetensors``, ``.npz``), or empty.
        batch: real images per step.
        generated_batch: generated images per step, where there are any.
        epochs: passes over the real images.
        rate: learning rate of the backbone; SGD, Nesterov momentum 0.9.
        head_rate: learning rate of the head.
        decay_every: epochs after which both fall to a tenth.
        weight_decay: on every parameter, coupled.
        crop: ``resized`` (CamStyle) or ``pad`` (``pad`` pixels of black, then a random crop).
        pad: see ``crop``.
        erasing: probability of random erasing, 0 for none.
        jitter: strength of colour jitter, 0 for none.
    """

    backbone: str
    depth: int
    width: int
    stem: str
    last_stride: int
    ibn: str
    head: str
    pretrained: str
    batch: int
    generated_batch: int
    epochs: int
    rate: float
    head_rate: float
    decay_every: int
    weight_decay: float
    crop: str
    pad: int
    erasing: float
    jitter: float

    def __post_init__(self):
        """Refuses values that nothing stands behind."""
        for name, known in {
            "backbone": ("resnet", "efficientnet_lite0"),
            "ibn": tuple(IBN_STAGES),
            "stem": ("imagenet", "small"),
            "head": tuple(HEADS),
            "crop": ("resized", "pad"),
            "depth": tuple(STAGES),
            "last_stride": (1, 2),
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(f"reid.{name} is {getattr(self, name)!r}; choose one of {known}")
        if self.head == "midlevel" and (self.backbone, self.depth > 18) != ("resnet", True):
            raise ValueError("reid.head 'midlevel' needs a ResNet with reid.depth 34 or more")


def require(settings: Settings, data: Sets) -> None:
    """Finds out before any training whether ``data`` can be trained and tested on.

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
    net, size = build(settings, identities), data.train.size
    try:
        shapes = jax.eval_shape(lambda: initial(net, jax.random.key(0), size))
    except ValueError as error:
        raise ValueError(f"the settings under reid make no network. {error}") from error
    if settings.pretrained:
        load_pretrained(settings.pretrained, shapes)


class Model(NamedTuple):
    """A trained re-ID network."""

    net: ReID
    variables: Mapping[str, Any]


def identity_loss(forward: Forward, stats: Any, batch, key: jax.Array) -> tuple[Terms, Any]:
    """The IDE baseline: mean cross-entropy over identities with one-hot labels."""
    outputs, stats = forward(stats, batch["image"], key)
    targets = losses.smooth_labels(batch["label"], outputs["logits"].shape[-1])
    return {"identity": losses.cross_entropy(outputs["logits"], targets).mean()}, stats


def train(
    directory: Path,
    real: Split,
    settings: Settings,
    *,
    seed: int,
    every: Every,
    loss: ReidLoss = identity_loss,
    generated: Split | None = None,
) -> Model:
    """Trains a re-ID network.

    Args:
        directory: for checkpoints and metrics.
        real: training images; labels are positions among their sorted identities.
        settings: see ``Settings``.
        seed: of initialisation, batches, augmentation and dropout.
        every: how often to log and save.
        loss: ``loss(forward, stats, batch, key) -> (terms, stats)``; the sum of terms is
            minimised. ``forward(stats, images, key)`` runs the network in training mode.
            ``batch`` has ``image`` and ``label``, and from ``generated`` the same two with the
            prefix ``generated_``; images are augmented floats.
        generated: images made from ``real``, of the same identities; a stream of its own that
            runs on over epochs.
    """
    plan = shuffled(len(real), settings.batch, seed)
    net, tx, step = program(settings, len(np.unique(real.pids)), plan.steps_per_epoch, loss)
    sources = {"": (real, labels(real.pids), plan)}
    if generated is not None:
        identities = np.searchsorted(np.unique(real.pids), generated.pids)
        draws = stream(len(generated), settings.generated_batch, (seed, 1))
        sources["generated_"] = (generated, identities, draws)

    def batch(step: int) -> dict[str, np.ndarray]:
        arrays = {}
        for prefix, (split, identities, draw) in sources.items():
            rows = draw(step)
            arrays[prefix + "image"] = split.images(rows)
            arrays[prefix + "label"] = identities[rows].astype(np.int32)
        return arrays

    def init() -> State:
        key = jax.random.key(seed)
        variables = initial(net, key, real.size)
        if settings.pretrained:
            variables, report = load_pretrained(settings.pretrained, variables)
            print(f"{directory.name}: {settings.pretrained}: {report.describe()}", flush=True)
        return create(jax.random.fold_in(key, 0), {"reid": variables}, tx)

    state = fit(
        init,
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=plan.steps_per_epoch * settings.epochs,
        directory=directory,
        every=every,
    )
    trained = state.nets["reid"]
    return Model(net, {"params": trained.params, "batch_stats": trained.stats})


@cache
def program(settings: Settings, identities: int, steps_per_epoch: int, loss: ReidLoss):
    """Network, optimisers and ``step(state, batch)``; equal arguments share one program."""
    net = build(settings, identities)
    tx = {"reid": optimiser(settings, steps_per_epoch)}
    return net, tx, alternate([phase(net, loss, settings)], tx)


@partial(jax.jit, static_argnums=(0, 2))
def initial(net: ReID, key: jax.Array, size: tuple[int, int]) -> Any:
    """Fresh variables for images of ``size``."""
    return net.init(key, jnp.zeros((1, *size, 3)))


@partial(jax.jit, static_argnums=0)
def _embed(net: ReID, variables, images: jax.Array) -> jax.Array:
    outputs: Any = net.apply(variables, augment.to_float(images))
    return outputs["test"]


def build(settings: Settings, identities: int) -> ReID:
    """The network of ``settings`` for a number of training identities."""
    if settings.backbone == "resnet":
        backbone = ResNet(
            settings.depth, settings.width, settings.last_stride, settings.stem, settings.ibn
        )
    else:
        backbone = EfficientNetLite0()
    return ReID(backbone, HEADS[settings.head](identities))


def phase(net: ReID, loss: ReidLoss, settings: Settings) -> Phase:
    """Re-ID training as one phase: augment, run ``loss``, sum its terms."""

    def turn(nets, batch, memo, key):
        k_loss, k_augment = jax.random.split(key)
        ready = dict(batch)
        for i, name in enumerate(n for n in sorted(batch) if n.endswith("image")):
            ready[name] = augmented(jax.random.fold_in(k_augment, i), batch[name], settings)

        def forward(stats, images, key):
            variables = {"params": nets["reid"].params, "batch_stats": stats}
            outputs, updated = net.apply(
                variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            return outputs, updated["batch_stats"]

        terms, stats = loss(forward, nets["reid"].stats, ready, k_loss)
        return sum(terms.values()), Aux(terms, stats={"reid": stats})

    return Phase(("reid",), turn)


def augmented(key: jax.Array, images: jax.Array, settings: Settings) -> jax.Array:
    """uint8 images to augmented floats: jitter, crop, flip, erasing, as far as asked for."""
    k_jitter, k_crop, k_flip, k_erase = jax.random.split(key, 4)
    x = augment.to_float(images)
    if settings.jitter:
        x = augment.colour_jitter(k_jitter, x, settings.jitter)
    if settings.crop == "resized":
        x = augment.resized_crop(k_crop, x)
    elif settings.pad:
        x = augment.pad_crop(k_crop, x, settings.pad)
    x = augment.flip(k_flip, x)
    if settings.erasing:
        x = augment.random_erasing(k_erase, x, probability=settings.erasing)
    return x


def optimiser(settings: Settings, steps_per_epoch: int) -> optax.GradientTransformation:
    """SGD with Nesterov momentum, the head at its own rate, both x 0.1 every ``decay_every``."""

    def sgd(rate: float) -> optax.GradientTransformation:
        boundaries = range(settings.decay_every, settings.epochs, settings.decay_every)
        falls = optax.piecewise_constant_schedule(
            rate, {epoch * steps_per_epoch: 0.1 for epoch in boundaries}
        )
        return optax.chain(
            optax.add_decayed_weights(settings.weight_decay),
            optax.sgd(falls, momentum=0.9, nesterov=True),
        )

    parts: dict[Hashable, optax.GradientTransformation] = {
        "backbone": sgd(settings.rate),
        "head": sgd(settings.head_rate),
    }

    def part(params):
        return {
            name: jax.tree.map(lambda _, name=name: name, tree) for name, tree in params.items()
        }

    return optax.partition(parts, part)


def embed(model: Model, split: Split, batch: int) -> Embedded:
    """Test embeddings of every image of ``split``, in its order."""
    rows = np.arange(len(split))
    parts = []
    for start in range(0, len(rows), batch):
        # The last batch is filled up by repeating its first row, so that one program serves all.
        picked = rows[start : start + batch]
        filled = np.concatenate([picked, np.full(batch - len(picked), picked[0])])
        parts.append(
            np.asarray(_embed(model.net, model.variables, split.images(filled)))[: len(picked)]
        )
    return Embedded(np.concatenate(parts), split.pids, split.cameras)
