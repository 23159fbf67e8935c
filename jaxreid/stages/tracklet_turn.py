"""A step of tracklet association: its settings, its two losses, network and optimiser."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxreid import losses
from jaxreid.data import augment
from jaxreid.nets.heads import Hidden
from jaxreid.nets.reid import ReID
from jaxreid.stages import reid
from jaxreid.training import Aux, Phase, alternate, cached, in_dtype

FILLER = -1e9  # logit of tracklets of other cameras
Reduction = Literal["mean", "camera_sum"]


@dataclass(frozen=True)
class Settings:
    """Training by tracklets of the target.

    Attributes:
        embedding: numbers of the test feature x (d).
        tracklets: in a batch, drawn from one camera after the other.
        images: of each of them; repeated where a tracklet has fewer.
        epochs: as many rounds over the cameras as the one with the fewest tracklets has of them.
        rate: learning rate of Adam.
        weight_decay: on every parameter, coupled.
        constant_epochs: after this epoch (from 0) the rate falls, ...
        fall_epochs: ... to a thousandth within this many, and on in the same way.
        association: weight lambda of CCTA; that of PCTD is 1 - lambda.
        reduction: of PCTD: ``mean`` over the batch (paper), or the sum over cameras of the mean of
            a camera's images, ``camera_sum`` (code).
        sigma: width of CCTA's kernel.
        neighbours: K of CCTA, 0 for half of the cameras, but at least one.
        include_self: whether CCTA's denominator has a tracklet itself, too (code).
        per_camera_norm: whether batch norm sees the images of one camera at a time (code).
    """

    embedding: int
    tracklets: int
    images: int
    epochs: int
    rate: float
    weight_decay: float
    constant_epochs: int
    fall_epochs: int
    association: float
    reduction: str
    sigma: float
    neighbours: int
    include_self: bool
    per_camera_norm: bool

    def __post_init__(self):
        """Refuses values that nothing stands behind."""
        for name in ("embedding", "images", "epochs", "rate", "fall_epochs", "sigma"):
            if getattr(self, name) <= 0:
                raise ValueError(f"tracklets.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("weight_decay", "constant_epochs", "neighbours"):
            if getattr(self, name) < 0:
                raise ValueError(f"tracklets.{name} is {getattr(self, name)}; it is 0 or more")
        if not 0 <= self.association <= 1:
            raise ValueError(f"tracklets.association is {self.association}; give 0 to 1")
        if self.reduction not in get_args(Reduction):
            known = get_args(Reduction)
            raise ValueError(f"tracklets.reduction is {self.reduction!r}; choose one of {known}")


def pctd(
    logits: ArrayLike, labels: ArrayLike, owners: ArrayLike, *, reduction: str = "mean"
) -> jax.Array:
    r"""Per-camera tracklet discrimination: an image among the tracklets of its own camera.

    $$\ell_i = -\log \frac{e^{z_{i y_i}}}{\sum_{m:\,o_m = o_{y_i}} e^{z_{im}}}$$

    Args:
        logits: `[B, M]` over the tracklets of all cameras.
        labels: tracklets `[B]`, 0 to M - 1.
        owners: camera of every tracklet `[M]`.
        reduction: `mean` over the batch, or `camera_sum`: the sum over cameras of the mean of a
            camera's images, which weighs this loss by the number of cameras.

    Returns:
        A scalar. Tracklets of other cameras get no gradient.

    References:
        Li, Zhu, Gong, "Person Re-identification by Deep Learning Tracklet Association", ECCV 2018,
        its L_PCTD, a mean over the batch; the sum is that of the code, github.com/liminxian/TAUDL.
    """
    logits, owners = jnp.asarray(logits), jnp.asarray(owners)
    cameras = owners[jnp.asarray(labels)]
    masked = jnp.where(cameras[:, None] == owners, logits, FILLER)
    values = losses.cross_entropy(masked, losses.smooth_labels(labels, logits.shape[-1]))
    if reduction == "mean":
        return values.mean()
    return (values / (cameras[:, None] == cameras).sum(1)).sum()


def ccta(
    means: ArrayLike,
    cameras: ArrayLike,
    *,
    neighbours: int,
    sigma: float = 2.0,
    include_self: bool = False,
) -> jax.Array:
    r"""Cross-camera tracklet association: near tracklets of other cameras against all others.

    $$-\frac1n \sum_i \log \frac{\sum_{j \in N_i} w_{ij}}{\sum_{j \ne i} w_{ij}}, \qquad
    w_{ij} = e^{-\lVert s_i - s_j \rVert^2 / 2\sigma^2}$$

    Args:
        means: mean feature of every tracklet `[n, d]`.
        cameras: their cameras `[n]`.
        neighbours: K: N_i are the K nearest tracklets of other cameras, or all if there are fewer.
            Which ones is a constant, how near they are is not.
        sigma: width of the kernel.
        include_self: whether the denominator has j = i, whose weight is 1.

    Returns:
        A scalar >= 0; a tracklet without any of another camera adds 0. Finite, with a finite
        gradient, however far apart features are.

    References:
        Li, Zhu, Gong, ECCV 2018, its L_CCTA; formula, sigma and K as they are remembered. Five
        things that its code does otherwise (a numerator without gradient, distances that are not
        squared, all tracklets as neighbours, cameras of other rows, j = i) are not done here.
    """
    s, cameras = jnp.asarray(means, jnp.float32), jnp.asarray(cameras)
    logs = -jnp.square(s[:, None] - s).sum(-1) / (2 * sigma**2)
    other = cameras[:, None] != cameras
    counted = other.any(1)
    candidates = jnp.where(other, jax.lax.stop_gradient(logs), -jnp.inf)
    near = jax.lax.top_k(candidates, min(neighbours, len(s)))[1]
    # Rows that do not count sum over all, so that no logarithm of nothing spoils a gradient.
    there = jnp.take_along_axis(other, near, 1) | ~counted[:, None]
    summed = (include_self | ~jnp.eye(len(s), dtype=bool)) | ~counted[:, None]
    numerator = jax.nn.logsumexp(jnp.take_along_axis(logs, near, 1), axis=1, where=there)
    denominator = jax.nn.logsumexp(logs, axis=1, where=summed)
    return jnp.where(counted, denominator - numerator, 0.0).mean()


def loss_terms(features, logits, labels, owners, settings: Settings) -> dict[str, jax.Array]:
    """(1 - lambda) PCTD and lambda CCTA of a batch, in which every tracklet has as many images."""
    order = jnp.argsort(labels, stable=True)
    means = features[order].reshape(-1, settings.images, features.shape[-1]).mean(1)
    cameras = jnp.asarray(owners)[labels[order][:: settings.images]]
    options = {"sigma": settings.sigma, "include_self": settings.include_self}
    apart = pctd(logits, labels, owners, reduction=settings.reduction)
    near = ccta(means, cameras, neighbours=_neighbours(settings, owners), **options)
    return {"pctd": (1 - settings.association) * apart, "ccta": settings.association * near}


def _neighbours(settings: Settings, owners: ArrayLike) -> int:
    return settings.neighbours or max(1, len(np.unique(owners)) // 2)


@cached
def program(trunk: reid.Settings, settings: Settings, owners: tuple[int, ...], epoch: int):
    """Network, optimiser and ``step(state, batch)``; equal arguments share one program.

    Args:
        trunk: settings of the backbone.
        settings: see ``Settings``.
        owners: camera of every tracklet, 0 to T - 1.
        epoch: steps in an epoch.
    """
    head = Hidden(len(owners), settings.embedding)
    net = in_dtype(reid.build(trunk, len(owners)).clone(head=head))
    tx = {"reid": optimiser(settings, epoch)}
    return net, tx, alternate([phase(net, settings, owners)], tx)


def phase(net: ReID, settings: Settings, owners: tuple[int, ...]) -> Phase:
    """The training as one phase: crop and flip, forward, both losses."""
    groups = len(set(owners)) if settings.per_camera_norm else 1

    def turn(nets, batch, memo, key):
        del memo
        k_crop, k_flip = jax.random.split(key)
        images = augment.resized_crop(k_crop, augment.to_float(batch["image"]))
        variables = {"params": nets["reid"].params, "batch_stats": nets["reid"].stats}
        outputs, stats = forward(net, variables, augment.flip(k_flip, images), groups)
        given = outputs["metric"], outputs["logits"], batch["label"]
        terms = loss_terms(*given, np.array(owners), settings)
        return sum(terms.values()), Aux(terms, stats={"reid": stats})

    return Phase(("reid",), turn)


def forward(net: ReID, variables: Any, images: jax.Array, groups: int) -> tuple[Any, Any]:
    """Outputs in training mode and running statistics after it.

    Args:
        net: the network.
        variables: its variables.
        images: ``[B, H, W, 3]``, camera by camera where there are several groups.
        groups: equal parts of the batch that batch norm sees one at a time. The running statistics
            take the mean of theirs; the code lets one camera after the other move them.
    """

    def together(images):
        outputs, updated = net.apply(variables, images, train=True, mutable=["batch_stats"])
        return outputs, updated["batch_stats"]

    if groups == 1:
        return together(images)
    outputs, stats = jax.vmap(together)(images.reshape(groups, -1, *images.shape[1:]))
    joined = jax.tree.map(lambda x: x.reshape(len(images), -1), outputs)
    return joined, jax.tree.map(lambda x: x.mean(0), stats)


def rate(settings: Settings, epoch: ArrayLike) -> jax.Array:
    """Constant until ``constant_epochs``, then times 0.001 per ``fall_epochs``, epoch by epoch."""
    fallen = jnp.maximum(0, jnp.asarray(epoch) - settings.constant_epochs) / settings.fall_epochs
    return settings.rate * 0.001**fallen


def optimiser(settings: Settings, epoch: int) -> optax.GradientTransformation:
    """Adam with weight decay in the gradient; ``epoch`` are the steps in one."""

    def falling(step: Any) -> jax.Array:
        return rate(settings, step // epoch)

    return optax.chain(optax.add_decayed_weights(settings.weight_decay), optax.adam(falling))
