"""A step of re-ID training: its settings, network and optimisers, and what the step lowers."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxreid import losses
from jaxreid.data import augment
from jaxreid.nets.efficientnet import EfficientNetLite0
from jaxreid.nets.heads import HEADS
from jaxreid.nets.reid import ReID
from jaxreid.nets.resnet import IBN_STAGES, STAGES, ResNet
from jaxreid.training import Aux, Net, Phase, alternate, cached, in_dtype, initialiser

Outputs = Mapping[str, jax.Array]
Forward = Callable[[Any, jax.Array, jax.Array], tuple[Outputs, Any]]
Terms = dict[str, jax.Array]
Render = Callable[[Mapping[str, Net], Mapping[str, jax.Array], jax.Array], dict[str, jax.Array]]
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
        epochs: as many steps as pass over the real images once.
        optimiser: ``sgd`` (Nesterov momentum 0.9) or ``adam`` (betas 0.9 and 0.999).
        rate: learning rate of the backbone.
        head_rate: learning rate of the head.
        warmup: epochs over which both rise from nothing, for triplets that would collapse.
        decay_every: epochs after which both fall to a tenth.
        weight_decay: on every parameter, coupled.
        crop: before the random crop, images get ``pad`` pixels of black on every side (``pad``), or
            are loaded that much larger (``larger``: LSRO, 256 to 224), or are enlarged by an
            eighth, every other one (``translated``: Random2DTranslation) or all (``enlarged``:
            IDE+); ``resized`` is CamStyle's crop of random area.
        pad: see ``crop``.
        erasing: probability of random erasing, 0 for none.
        jitter: strength of colour jitter, 0 for none.
        generated_batch: generated images per step, in systems that add them to real ones; a
            multiple of ``batch`` where each accompanies the real image it was made from.
        seeds: networks of every arm, alike but for their seeds: that of the run and the next ones.
            Scores are their means, with the standard deviation beside them.
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
    generated_batch: int = 0
    seeds: int = 1

    def __post_init__(self):
        """Refuses values that nothing stands behind."""
        for name, known in {
            "backbone": ("resnet", "efficientnet_lite0"),
            "ibn": tuple(IBN_STAGES),
            "stem": ("imagenet", "small"),
            "head": tuple(HEADS),
            "crop": ("pad", "larger", "translated", "enlarged", "resized"),
            "optimiser": ("sgd", "adam"),
            "depth": tuple(STAGES),
            "last_stride": (1, 2),
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(f"reid.{name} is {getattr(self, name)!r}; choose one of {known}")
        if self.seeds < 1:
            raise ValueError(f"reid.seeds is {self.seeds}: an arm needs one network or more")
        if self.head == "midlevel" and (self.backbone, self.depth > 18) != ("resnet", True):
            raise ValueError("reid.head 'midlevel' needs a ResNet with reid.depth 34 or more")
        if self.images_per_identity and self.batch % self.images_per_identity:
            raise ValueError(
                f"reid.batch is {self.batch}, no multiple of reid.images_per_identity, "
                f"{self.images_per_identity}: a batch holds as many images of every identity"
            )

    def of_one(self) -> dict[str, Any]:
        """What decides a network, as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "seeds"}

    @property
    def identities(self) -> int:
        """Identities in a batch that holds ``images_per_identity`` of each."""
        return self.batch // self.images_per_identity


def identity_loss(forward: Forward, stats: Any, batch, key: jax.Array) -> tuple[Terms, Any]:
    """The IDE baseline: mean cross-entropy over identities with one-hot labels."""
    outputs, stats = forward(stats, batch["image"], key)
    targets = losses.smooth_labels(batch["label"], outputs["logits"].shape[-1])
    return {"identity": losses.cross_entropy(outputs["logits"], targets).mean()}, stats


@cached
def program(
    settings: Settings,
    classes: int,
    steps_per_epoch: int,
    loss: ReidLoss,
    render: Render | None = None,
    form: tuple[tuple[str, Any], ...] = (),
    slow: tuple[str, ...] = (),
):
    """Network, optimisers and ``step(state, batch)``; equal arguments share one program.

    ``form`` are further fields of ``ReID``, ``slow`` layers of the head as ``optimiser`` has them.
    """
    net = build(settings, classes).clone(**dict(form))
    tx = {"reid": optimiser(settings, steps_per_epoch, slow)}
    return net, tx, alternate([phase(net, loss, settings, steps_per_epoch, render)], tx)


@partial(initialiser, static_argnums=(0, 2))
def initial(net: ReID, key: jax.Array, size: tuple[int, int]) -> Any:
    """Fresh variables for images of ``size``."""
    return net.init(key, jnp.zeros((1, *size, 3)))


def build(settings: Settings, classes: int) -> ReID:
    """The network of ``settings`` for a number of classes."""
    if settings.backbone == "resnet":
        backbone = ResNet(
            settings.depth, settings.width, settings.last_stride, settings.stem, settings.ibn
        )
    else:
        backbone = EfficientNetLite0()
    return in_dtype(ReID(backbone, HEADS[settings.head](classes)))


def phase(
    net: ReID,
    loss: ReidLoss,
    settings: Settings,
    steps_per_epoch: int,
    render: Render | None = None,
) -> Phase:
    """Re-ID training as one phase: render, if asked to, augment, run ``loss``, sum its terms."""

    def turn(nets, batch, memo, key):
        k_loss, k_augment = jax.random.split(key)
        if render:
            batch = jax.lax.stop_gradient(render(nets, batch, jax.random.fold_in(key, 2)))
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
    """uint8 or float images to augmented floats: jitter, crop, flip, erasing, as far as asked."""
    k_jitter, k_crop, k_flip, k_erase = jax.random.split(key, 4)
    x = augment.to_float(images) if images.dtype == jnp.uint8 else images
    if settings.jitter:
        x = augment.colour_jitter(k_jitter, x, settings.jitter)
    if settings.crop == "resized":
        x = augment.resized_crop(k_crop, x)
    elif settings.crop in ("translated", "enlarged"):
        x = augment.random_translation(k_crop, x, 0.5 if settings.crop == "translated" else 1.0)
    elif settings.crop == "larger":
        sides = (x.shape[1] - 2 * settings.pad, x.shape[2] - 2 * settings.pad)
        x = augment.random_crop(k_crop, x, sides)
    elif settings.pad:
        x = augment.pad_crop(k_crop, x, settings.pad)
    x = augment.flip(k_flip, x)
    if settings.erasing:
        x = augment.random_erasing(k_erase, x, probability=settings.erasing)
    return x


def optimiser(
    settings: Settings, steps_per_epoch: int, slow: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """SGD or Adam, the head at its own rate, both warmed up, x 0.1 every ``decay_every``.

    Layers of the head that ``slow`` names learn at the backbone's rate.
    """

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
        def named(path, _):
            top, layer = (entry.key for entry in path[:2])
            return "backbone" if top == "head" and layer in slow else top

        return jax.tree_util.tree_map_with_path(named, params)

    return optax.partition(parts, part)
