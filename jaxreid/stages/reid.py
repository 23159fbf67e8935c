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
from jaxreid.data import Plan, Split, augment, companions, pk, prefetch, shuffled, stream
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
        images_per_identity: of every identity in a batch, for triplets; 0 draws images whoever
            they show.
        generated_batch: generated images per step, where there are any; a multiple of ``batch``
            where each accompanies the real image it was made from.
        epochs: as many steps as pass over the real images once.
        optimiser: ``sgd`` (Nesterov momentum 0.9) or ``adam`` (betas 0.9 and 0.999).
        rate: learning rate of the backbone.
        head_rate: learning rate of the head.
        warmup: epochs over which both rise from nothing, for triplets that would collapse.
        decay_every: epochs after which both fall to a tenth.
        weight_decay: on every parameter, coupled.
        crop: before the random crop, images get ``pad`` pixels of black on every side (``pad``), or
            are loaded that much larger (``larger``: LSRO, 256 to 224), or are enlarged by an
            eighth, every other one (``translated``: Random2DTranslation); ``resized`` is CamStyle's
            crop of random area.
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
    images_per_identity: int
    generated_batch: int
    epochs: int
    optimiser: str
    rate: float
    head_rate: float
    warmup: int
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
            "crop": ("pad", "larger", "translated", "resized"),
            "optimiser": ("sgd", "adam"),
            "depth": tuple(STAGES),
            "last_stride": (1, 2),
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(f"reid.{name} is {getattr(self, name)!r}; choose one of {known}")
        if self.head == "midlevel" and (self.backbone, self.depth > 18) != ("resnet", True):
            raise ValueError("reid.head 'midlevel' needs a ResNet with reid.depth 34 or more")
        if self.images_per_identity and self.batch % self.images_per_identity:
            raise ValueError(
                f"reid.batch is {self.batch}, no multiple of reid.images_per_identity, "
                f"{self.images_per_identity}: a batch holds as many images of every identity"
            )

    @property
    def identities(self) -> int:
        """Identities in a batch that holds ``images_per_identity`` of each."""
        return self.batch // self.images_per_identity


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
    if settings.images_per_identity and settings.identities > identities:
        raise ValueError(
            f"reid.batch / reid.images_per_identity is {settings.identities}, but the training "
            f"split has {identities} identities: lower reid.batch"
        )
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


@dataclass(frozen=True)
class Extras:
    """What an arm trains with beside real images, as far as it decides the result.

    Attributes:
        companions: given, a step's generated images are made from its real ones: of each real image
            ``generated_batch / batch``, drawn among these groups of styles. Group g joins when
            ``g / len(companions)`` of the steps are done. Without, generated images are a stream of
            their own that runs on over epochs.
        classes: logits beyond the identities.
    """

    companions: tuple[tuple[int, ...], ...] = ()
    classes: int = 0


PLAIN = Extras()


def train(
    directory: Path,
    real: Split,
    settings: Settings,
    *,
    seed: int,
    every: Every,
    loss: ReidLoss = identity_loss,
    generated: Split | None = None,
    extras: Extras = PLAIN,
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
            ``batch`` has ``image`` and ``label``, from ``generated`` the same two with the
            prefix ``generated_``, and ``epoch``, a scalar; images are augmented floats.
        generated: images made from ``real``, of the same identities or of nobody.
        extras: see ``Extras``.

    Raises:
        ValueError: a real image has no companion among the first group of styles, or
            ``generated_batch`` is no multiple of ``batch`` where it has to be.
    """
    plan = _plan(real, settings, seed)
    steps = plan.steps_per_epoch * settings.epochs
    classes = len(np.unique(real.pids)) + extras.classes
    net, tx, step = program(settings, classes, plan.steps_per_epoch, loss)
    sources: dict[str, tuple[Split, Callable[[int], np.ndarray]]]
    sources = {"": (_loaded(real, settings), plan)}
    if generated is not None:
        draw = _beside(plan, real, generated, settings, extras.companions, steps, seed)
        sources["generated_"] = _loaded(generated, settings), draw
    people = np.unique(real.pids)

    def batch(step: int) -> dict[str, np.ndarray]:
        arrays = {}
        for prefix, (split, draw) in sources.items():
            rows = draw(step)
            arrays[prefix + "image"] = split.images(rows)
            arrays[prefix + "label"] = np.searchsorted(people, split.pids[rows]).astype(np.int32)
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
        steps=steps,
        directory=directory,
        every=every,
    )
    trained = state.nets["reid"]
    return Model(net, {"params": trained.params, "batch_stats": trained.stats})


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
        seed=(seed, 1),
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


def _loaded(split: Split, settings: Settings) -> Split:
    if settings.crop != "larger":
        return split
    return split.resized((split.size[0] + 2 * settings.pad, split.size[1] + 2 * settings.pad))


@cache
def program(settings: Settings, classes: int, steps_per_epoch: int, loss: ReidLoss):
    """Network, optimisers and ``step(state, batch)``; equal arguments share one program."""
    net = build(settings, classes)
    tx = {"reid": optimiser(settings, steps_per_epoch)}
    return net, tx, alternate([phase(net, loss, settings, steps_per_epoch)], tx)


@partial(jax.jit, static_argnums=(0, 2))
def initial(net: ReID, key: jax.Array, size: tuple[int, int]) -> Any:
    """Fresh variables for images of ``size``."""
    return net.init(key, jnp.zeros((1, *size, 3)))


@partial(jax.jit, static_argnums=0)
def _embed(net: ReID, variables, images: jax.Array) -> jax.Array:
    outputs: Any = net.apply(variables, augment.to_float(images))
    return outputs["test"]


def build(settings: Settings, classes: int) -> ReID:
    """The network of ``settings`` for a number of classes."""
    if settings.backbone == "resnet":
        backbone = ResNet(
            settings.depth, settings.width, settings.last_stride, settings.stem, settings.ibn
        )
    else:
        backbone = EfficientNetLite0()
    return ReID(backbone, HEADS[settings.head](classes))


def phase(net: ReID, loss: ReidLoss, settings: Settings, steps_per_epoch: int) -> Phase:
    """Re-ID training as one phase: augment, run ``loss``, sum its terms."""

    def turn(nets, batch, memo, key):
        k_loss, k_augment = jax.random.split(key)
        ready = dict(batch) | {"epoch": memo["step"] // steps_per_epoch}
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
    elif settings.crop == "translated":
        x = augment.random_translation(k_crop, x)
    elif settings.crop == "larger":
        sides = (x.shape[1] - 2 * settings.pad, x.shape[2] - 2 * settings.pad)
        x = augment.random_crop(k_crop, x, sides)
    elif settings.pad:
        x = augment.pad_crop(k_crop, x, settings.pad)
    x = augment.flip(k_flip, x)
    if settings.erasing:
        x = augment.random_erasing(k_erase, x, probability=settings.erasing)
    return x


def optimiser(settings: Settings, steps_per_epoch: int) -> optax.GradientTransformation:
    """SGD or Adam, the head at its own rate, both warmed up, x 0.1 every ``decay_every``."""

    def descend(rate: float) -> optax.GradientTransformation:
        boundaries = range(settings.decay_every, settings.epochs, settings.decay_every)
        falls = optax.piecewise_constant_schedule(
            rate, {epoch * steps_per_epoch: 0.1 for epoch in boundaries}
        )
        warm = max(1, settings.warmup * steps_per_epoch)

        def rises_and_falls(step):
            return falls(step) * jnp.minimum(1.0, (step + 1) / warm)

        return optax.chain(
            optax.add_decayed_weights(settings.weight_decay),
            optax.adam(rises_and_falls)
            if settings.optimiser == "adam"
            else optax.sgd(rises_and_falls, momentum=0.9, nesterov=True),
        )

    parts: dict[Hashable, optax.GradientTransformation] = {
        "backbone": descend(settings.rate),
        "head": descend(settings.head_rate),
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
