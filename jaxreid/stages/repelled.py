"""Training that repels clusters from one another, as BUC does: head, loss, memory, one run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from flax.typing import Dtype

from jaxreid import losses
from jaxreid.data import Split, prefetch, shuffled
from jaxreid.nets.convert import load_pretrained
from jaxreid.nets.heads import Embedding, dense
from jaxreid.nets.layers import batch_norm, kaiming_fan_out, outward
from jaxreid.nets.pooling import average, unit
from jaxreid.nets.reid import ReID
from jaxreid.stages import embedding, reid
from jaxreid.stages.reid_turn import augmented
from jaxreid.training import (
    Aux,
    Every,
    Interlude,
    Phase,
    State,
    alternate,
    cached,
    create,
    fit,
    in_dtype,
    processes,
)

SHARPNESS = 10.0  # 1 / tau of eq. 1


class Repelled(nn.Module):
    """Linear, BN, unit length, then dropout: v, the metric embedding. The memory has the logits.

    Attributes:
        dropout: share of the components of v dropped when training; those left are scaled up, so
            that v has unit length only outside training.
        dtype: type of the computation.
    """

    dropout: float = 0.5
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Maps [B,h,w,C] to no logits [B,0], v [B,C] and f of unit length [B,C]."""
        pooled = average(maps)
        x = dense(pooled.shape[-1], kaiming_fan_out(), "feat", pooled, dtype=self.dtype)
        x = unit(outward(batch_norm(train, "feat_bn", self.dtype)(x)))
        v = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Embedding(logits=x[:, :0], metric=v, test=unit(pooled))


def repelled_loss(
    v: jax.Array, memory: jax.Array, labels: jax.Array, clusters: int | jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of ``10 v V^T``: one value per sample, ``[B]``.

    Args:
        v: ``[B, D]``.
        memory: V, ``[N, D]``, of which the first ``clusters`` rows count (default: all).
        labels: ``[B]``, clusters.
        clusters: C; an array serves all merging steps by one program.

    References:
        Lin et al., "A Bottom-Up Clustering Approach to Unsupervised Person Re-identification",
        AAAI 2019, eq. 1 with tau = 0.1.
    """
    logits = SHARPNESS * v @ memory.T
    if clusters is not None:
        logits = jnp.where(jnp.arange(len(memory)) < clusters, logits, -jnp.inf)
    return losses.cross_entropy(logits, losses.smooth_labels(labels, len(memory)))


def remember(memory: jax.Array, v: jax.Array, labels: jax.Array) -> jax.Array:
    """``V_y = normalise((V_y + v) / 2)``, one sample after another, so that a first v is v / ||v||.

    As the published code has it; the paper does not normalise. Shapes ``[N, D]``, ``[B, D]`` and
    ``[B]`` give ``[N, D]``.
    """

    def one(memory, sample):
        embedding, label = sample
        return memory.at[label].set(unit((memory[label] + embedding) / 2)), None

    return jax.lax.scan(one, memory, (v, labels))[0]


def network(settings: reid.Settings) -> ReID:
    """The backbone of ``settings`` with the head of BUC."""
    return in_dtype(reid.build(settings, 0).clone(head=Repelled()))


@cached
def program(settings: reid.Settings, steps_per_epoch: int):
    """Network, optimiser and step; ``State.extra`` holds ``memory`` and ``clusters``."""
    net = network(settings)

    def turn(nets, batch, memo, key):
        k_augment, k_dropout = jax.random.split(key)
        images = augmented(k_augment, batch["image"], settings)
        variables = {"params": nets["reid"].params, "batch_stats": nets["reid"].stats}
        rest: dict[str, Any] = {"mutable": ["batch_stats"], "rngs": {"dropout": k_dropout}}
        outputs, updated = net.apply(variables, images, train=True, **rest)
        v, labels = outputs["metric"], batch["label"]
        value = repelled_loss(v, memo["memory"], labels, memo["clusters"]).mean()
        return value, Aux({"repelled": value}, {"v": v}, {"reid": updated["batch_stats"]})

    def remembered(nets, batch, memo, key):
        del nets, key
        return {"memory": remember(memo["memory"], memo["v"], batch["label"])}

    tx = {"reid": reid.optimiser(settings, steps_per_epoch)}
    return net, tx, alternate([Phase(("reid",), turn), Interlude(remembered)], tx)


def train(
    directory: Path,
    images: Split,
    labels: np.ndarray,
    settings: reid.Settings,
    before: Callable[[], embedding.Model] | None,
    *,
    seed: tuple[int, ...],
    every: Every,
) -> None:
    """Trains one merging step with a memory that begins at 0, and writes ``network.npz``.

    Args:
        directory: of the step.
        images: of the target.
        labels: int ``[N]``, their clusters, 0 to C - 1.
        settings: of network and training; the head is always ``Repelled``.
        before: reads the network that this one goes on with; None begins anew, or with the weights
            of ``settings.pretrained``.
        seed: of batches, augmentation, dropout and a new network.
        every: how often to log and save.
    """
    plan, loaded = shuffled(len(images), settings.batch, seed), reid.loaded(images, settings)
    net, tx, step = program(settings, plan.steps_per_epoch)

    def batch(step: int) -> dict[str, np.ndarray]:
        rows = plan(step)
        return {"image": loaded.images(rows), "label": labels[rows].astype(np.int32)}

    def init() -> State:
        key = jax.random.key(int(np.random.default_rng(seed).integers(2**31)))
        variables = before().variables if before else _fresh(net, key, images, settings)
        width = variables["params"]["head"]["feat"]["kernel"].shape[-1]
        extra = {"memory": jnp.zeros((len(images), width))}
        extra["clusters"] = jnp.int32(labels.max() + 1)
        return create(jax.random.fold_in(key, 0), {"reid": variables}, tx, extra)

    steps = plan.steps_per_epoch * settings.epochs
    given = {"steps": steps, "directory": directory, "every": every}
    state = fit(init, step, lambda start, stop: prefetch(batch, start, stop), **given)
    trained = state.nets["reid"]
    variables = {"params": trained.params, "batch_stats": trained.stats}
    arrays: dict[str, Any] = dict(flatten_dict(variables, sep="/"))
    processes.tell(lambda: np.savez(directory / "network.npz", **arrays))


def read(directory: Path, settings: reid.Settings) -> embedding.Model:
    """The network that a finished step left."""
    with np.load(directory / "network.npz") as found:
        variables = unflatten_dict(dict(found), sep="/")
    return embedding.Model(network(settings), variables)


def _fresh(net, key: jax.Array, images: Split, settings: reid.Settings) -> Mapping[str, Any]:
    variables = reid.initial(net, key, images.size)
    if settings.pretrained:
        variables, report = load_pretrained(settings.pretrained, variables)
        print(f"{settings.pretrained}: {report.describe()}", flush=True)
    return variables
