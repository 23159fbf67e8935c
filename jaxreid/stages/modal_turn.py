"""A step of training on pairs of visible and infrared images: its settings, network and turn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxreid import losses
from jaxreid.data import augment
from jaxreid.nets import alexnet, streams
from jaxreid.nets.pooling import unit
from jaxreid.nets.resnet import STAGES
from jaxreid.training import Aux, Phase, alternate, cached, in_dtype

TWO_STREAM = ("alexnet", "small")  # stacks of alexnet.TwoStream
NETS = (*TWO_STREAM, "resnet", *streams.VARIANTS)
FORMS = ("paired", "pool", "ratio")


class Side(NamedTuple):
    """The images of one modality in a step, as the network sees them.

    Attributes:
        logits: ``[N, K]``.
        embeddings: ``[N, D]``, of unit length.
        labels: identities ``[N]``.
        converted: ``[N]``, whether the image was converted from the other modality.
    """

    logits: jax.Array
    embeddings: jax.Array
    labels: jax.Array
    converted: jax.Array


Terms = dict[str, jax.Array]
# ``loss(visible, thermal, options)`` gives terms, whose sum is minimised, and what else is logged.
ModalLoss = Callable[[Side, Side, Any], tuple[Terms, Terms]]


@dataclass(frozen=True)
class Settings:
    """One network for two modalities and its training.

    Attributes:
        net: ``alexnet`` (two streams joined after fc6, 227x227), ``small`` (the same with few
            layers, see ``nets.alexnet``), ``resnet`` (a stem per modality), or one of
            ``nets.streams.VARIANTS``.
        depth: of ``resnet``: 18, 34, 50 or 101.
        resnet_width: channels of the stems of ``resnet``: 64 as torchvision's.
        width: channels of the first convolution; ``resnet`` has ``resnet_width``.
        hidden: units of fc6.
        embedding: units of the embedding; ``resnet`` has none of its own.
        dropout: share of units dropped in training; ``resnet`` drops none.
        fc6: what follows fc6 in each stream: ``norm`` (BDTR) or ``relu`` (TONE).
        decay: of the running statistics after fc6: 0.999 as TensorFlow, 0.9 for short runs.
        fc6_bn_eval: statistics after fc6 at test: ``running``, or ``batch`` as in BDTR's code:
            those of up to ``batch`` images of one modality, side by side in the split.
        mean_order: of AlexNet's mean colour: ``correct``, or ``as_code`` as in BDTR's.
        pretrained: path of weights for the streams (``nets.convert_streams``), or empty.
        size: (height, width) that the network sees: training images are cropped to it at random,
            test images resized.
        crop_mode: ``free``, or ``diagonal`` as in BDTR's code: one number is the offset of rows and
            columns, and the last one is never drawn.
        flip: whether images are mirrored at random, which BDTR does not do.
        jitter: strength of colour jitter: a gain for each colour of a visible image, and one for an
            infrared image; 0 for none.
        batch: people per step, each with one real image of either modality.
        form: how converted images join: ``paired`` (those made of the real images of the step),
            ``pool`` (an image of either kind is drawn), ``ratio`` (real images of some people,
            converted ones of the others).
        converted_people: those with converted images in the form ``ratio``.
        strangers: infrared images of a batch whose people are drawn without regard to the visible
            ones (TONE: half of them); only without converted images.
        steps: of the training.
        kept: a step after which the network is tested, too; 0 for none.
        rate: learning rate of SGD, momentum 0.9.
        fall: step after which the rate is a tenth; 0 for never.
        weight_decay: on every parameter, coupled.
    """

    net: str
    depth: int
    resnet_width: int
    width: int
    hidden: int
    embedding: int
    dropout: float
    fc6: str
    decay: float
    fc6_bn_eval: str
    mean_order: str
    pretrained: str
    size: tuple[int, int]
    crop_mode: str
    flip: bool
    jitter: float
    batch: int
    form: str
    converted_people: int
    strangers: int
    steps: int
    kept: int
    rate: float
    fall: int
    weight_decay: float

    def __post_init__(self):
        """Refuses values that nothing stands behind."""
        for name, known in {
            "net": NETS,
            "depth": tuple(STAGES),
            "fc6": alexnet.AFTER_FC6,
            "fc6_bn_eval": ("running", "batch"),
            "mean_order": tuple(alexnet.BGR_MEANS),
            "crop_mode": ("free", "diagonal"),
            "form": ("", *FORMS),
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(f"modal.{name} is {getattr(self, name)!r}; choose one of {known}")
        if not 0 <= self.kept < self.steps:
            raise ValueError(
                f"modal.kept is {self.kept} and modal.steps {self.steps}: choose a step before the "
                "last, or 0"
            )
        if self.form == "ratio" and not 0 < self.converted_people < self.batch:
            raise ValueError(
                f"modal.converted_people is {self.converted_people}: of the {self.batch} people in "
                f"a batch 1 to {self.batch - 1} can have converted images"
            )
        if self.strangers and (self.form or not 0 < self.strangers < self.batch):
            raise ValueError(
                f"modal.strangers is {self.strangers}: choose 0, or 1 to {self.batch - 1} (less "
                "than modal.batch) where modal.form is empty"
            )
        if self.pretrained and self.net not in (*TWO_STREAM, "resnet"):
            raise ValueError(f"modal.pretrained is given, but {self.net} begins at random")


def identity_loss(visible: Side, thermal: Side, options: None = None) -> tuple[Terms, Terms]:
    """Mean cross-entropy over all images, one-hot labels."""
    del options
    logits = jnp.concatenate([visible.logits, thermal.logits])
    labels = jnp.concatenate([visible.labels, thermal.labels])
    targets = losses.smooth_labels(labels, logits.shape[-1])
    return {"identity": losses.cross_entropy(logits, targets).mean()}, {}


def build(settings: Settings, classes: int) -> nn.Module:
    """The network of ``settings``; called as ``nets.streams`` says."""
    return in_dtype(_built(settings, classes))


def _built(settings: Settings, classes: int) -> nn.Module:
    if settings.net == "resnet":
        stem = "imagenet" if settings.size[0] >= 128 else "small"
        return streams.TwoStreamResNet(classes, settings.depth, settings.resnet_width, stem=stem)
    if settings.net in streams.VARIANTS:
        sizes = (settings.width, settings.embedding, settings.dropout)
        return streams.ResNet6(classes, settings.net, *sizes)
    return alexnet.TwoStream(
        classes,
        settings.net,
        settings.width,
        settings.hidden,
        settings.embedding,
        settings.dropout,
        settings.fc6,
        settings.decay,
        settings.fc6_bn_eval,
        settings.mean_order,
    )


@cached
def program(settings: Settings, classes: int, loss: ModalLoss, options: Any):
    """Network, optimiser and ``step(state, batch)``; equal arguments share one program."""
    net = build(settings, classes)
    tx = {"reid": optimiser(settings)}
    return net, tx, alternate([phase(net, settings, loss, options)], tx)


def phase(net: nn.Module, settings: Settings, loss: ModalLoss, options: Any) -> Phase:
    """The training as one phase: crop, one forward pass of both modalities, loss.

    Real and converted images of a modality pass its stream, and its batch norms, together.
    """

    def turn(nets, batch, memo, key):
        del memo
        k_augment, k_drop = jax.random.split(key)
        images = [
            augmented(jax.random.fold_in(k_augment, m), batch[f"{name}_image"], settings, bool(m))
            for m, name in enumerate(streams.MODALITIES)
        ]
        variables = {"params": nets["reid"].params, "batch_stats": nets["reid"].stats}
        outputs: Any
        outputs, updated = net.apply(
            variables, *images, train=True, mutable=["batch_stats"], rngs={"dropout": k_drop}
        )
        logits = jnp.split(outputs["logits"], 2)
        embeddings = jnp.split(unit(outputs["metric"]), 2)
        visible, thermal = (
            Side(z, x, batch[f"{name}_label"], batch[f"{name}_converted"])
            for name, z, x in zip(streams.MODALITIES, logits, embeddings, strict=True)
        )
        terms, further = loss(visible, thermal, options)
        return sum(terms.values()), Aux(terms | further, stats={"reid": updated["batch_stats"]})

    return Phase(("reid",), turn)


def augmented(key: jax.Array, images: jax.Array, settings: Settings, infrared: bool) -> jax.Array:
    """uint8 images to floats: jitter, flip and crop, as far as asked."""
    k_crop, k_jitter, k_flip = jax.random.split(key, 3)
    x = augment.to_float(images)
    if settings.jitter:
        x = augment.colour_jitter(k_jitter, x, settings.jitter, grey=infrared)
    if settings.flip:
        x = augment.flip(k_flip, x)
    if settings.crop_mode == "diagonal":
        return augment.diagonal_crop(k_crop, x, settings.size)
    return augment.random_crop(k_crop, x, settings.size)


def optimiser(settings: Settings) -> optax.GradientTransformation:
    """SGD with momentum 0.9 at a constant rate, or one that falls once."""
    falls = {settings.fall: 0.1} if settings.fall else {}
    rate = optax.piecewise_constant_schedule(settings.rate, falls)
    decayed = optax.add_decayed_weights(settings.weight_decay)
    return optax.chain(decayed, optax.sgd(rate, momentum=0.9))
