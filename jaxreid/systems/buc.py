"""BUC: every image of the target begins as a class of its own; the nearest classes are merged.

Lin, Dong, Zheng, Yan, Yang, "A Bottom-Up Clustering Approach to Unsupervised Person
Re-identification", AAAI 2019, as corrected by the authors. No identity of either set is used: the
source only teaches the arms that this one stands beside.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxreid import losses
from jaxreid.data import Split, prefetch, shuffled
from jaxreid.nets.convert import load_pretrained
from jaxreid.nets.heads import Embedding, dense
from jaxreid.nets.layers import batch_norm, kaiming_fan_out
from jaxreid.nets.pooling import average, unit
from jaxreid.stages import arms, clustering, crossing, reid
from jaxreid.stages.arms import Trained
from jaxreid.stages.crossing import Crossing
from jaxreid.stages.reid_turn import augmented
from jaxreid.stages.sets import require_batch
from jaxreid.training import Aux, Phase, alternate, create, fit, run_once

SHARPNESS = 10.0  # 1 / tau of eq. 1


class Repelled(nn.Module):
    """Linear, BN, unit length, then dropout: v, the metric embedding. The memory has the logits.

    Attributes:
        dropout: share of the components of v dropped when training; those left are scaled up, so
            that v has unit length only outside training.
    """

    dropout: float = 0.5

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Maps [B,h,w,C] to no logits [B,0], v [B,C] and f of unit length [B,C]."""
        pooled = average(maps)
        x = dense(pooled.shape[-1], kaiming_fan_out(), "feat", pooled)
        x = unit(batch_norm(train, "feat_bn")(x))
        v = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Embedding(logits=x[:, :0], metric=v, test=unit(pooled))


def repelled_loss(v: jax.Array, memory: jax.Array, labels: jax.Array, clusters=None) -> jax.Array:
    """Cross-entropy of ``10 v V^T``: one value per sample, ``[B]``.

    Args:
        v: ``[B, D]``.
        memory: V, ``[N, D]``, of which the first ``clusters`` rows count (default: all).
        labels: ``[B]``, clusters.
        clusters: C; an array serves all merging steps by one program.

    References:
        Eq. 1 of the paper, with tau = 0.1.
    """
    logits = SHARPNESS * v @ memory.T
    if clusters is not None:
        logits = jnp.where(jnp.arange(len(memory)) < clusters, logits, -jnp.inf)
    return losses.cross_entropy(logits, losses.smooth_labels(labels, len(memory)))


def remember(memory: jax.Array, v: jax.Array, labels: jax.Array) -> jax.Array:
    """``V_y = normalise((V_y + v) / 2)``, one sample after another; the paper does not normalise.

    A row that was 0 becomes v / ||v||. Shapes ``[N, D]``, ``[B, D]``, ``[B]``.
    """

    def one(memory, sample):
        embedding, label = sample
        return memory.at[label].set(unit((memory[label] + embedding) / 2)), None

    return jax.lax.scan(one, memory, (v, labels))[0]


@cache
def program(settings: reid.Settings, steps_per_epoch: int):
    """Network, optimiser and step; ``State.extra`` holds ``memory`` and ``clusters``."""
    net = reid.build(settings, 0).clone(head=Repelled())

    def turn(nets, batch, memo, key):
        k_augment, k_dropout = jax.random.split(key)
        images = augmented(k_augment, batch["image"], settings)
        variables = {"params": nets["reid"].params, "batch_stats": nets["reid"].stats}
        rest: dict[str, Any] = {"mutable": ["batch_stats"], "rngs": {"dropout": k_dropout}}
        outputs, updated = net.apply(variables, images, train=True, **rest)
        v, labels = outputs["metric"], batch["label"]
        value = repelled_loss(v, memo["memory"], labels, memo["clusters"]).mean()
        memo = {"memory": remember(memo["memory"], v, labels)}
        return value, Aux({"repelled": value}, memo, {"reid": updated["batch_stats"]})

    tx = {"reid": reid.optimiser(settings, steps_per_epoch)}
    return net, tx, alternate([Phase(("reid",), turn)], tx)


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, the merging steps on the target, all other arms, report."""
    _require(config["buc"])
    started = crossing.begin(config, workdir)
    _require_images(config["buc"], len(started.data.target.train))
    return crossing.conclude(started, [learn(started, config["buc"])])


def learn(run: Crossing, options: Mapping[str, Any]) -> Trained:
    """The network after ``merges`` merging steps; the images' order is drawn once."""
    target = run.data.target.train
    order = np.random.default_rng((run.config["seed"], 4)).permutation(len(target))
    images, trained = target.take(order), None
    for k in range(options["merges"] + 1):
        trained = merging_step(run, options, images, k, trained)
    assert trained is not None
    return trained


def schedule(settings: reid.Settings, options: Mapping[str, Any], k: int) -> reid.Settings:
    """Step 0 is long, its rates fall once; all later ones are short, at the rates it fell to."""
    own = {"batch": options["batch"], "images_per_identity": 0, "generated_batch": 0, "warmup": 0}
    rates = {"rate": options["rate"], "head_rate": options["head_rate"]}
    if not k:
        first = {"epochs": options["epochs"], "decay_every": options["decay_every"]}
        return replace(settings, **own, **rates, **first)
    epochs = options["later_epochs"]
    rates = {name: rate / 10 for name, rate in rates.items()}
    return replace(settings, **own, **rates, epochs=epochs, decay_every=epochs)


def merging_step(
    run: Crossing, options: Mapping[str, Any], images: Split, k: int, before: Trained | None
) -> Trained:
    """Merges by the network before (not in step 0), then trains it on; done once.

    Leaves ``clusters.npy``, int ``[N]`` in the order of ``images``, and ``network.npz``.
    """
    directory = run.workdir / "reid_buc" / f"step_{k}"
    settings, seed = schedule(run.reid, options, k), run.config["seed"]
    merging = {"share": options["share"], "size_weight": options["size_weight"]}

    def make() -> None:
        labels = merged(before, images, **merging) if before else np.arange(len(images))
        np.save(directory / "clusters.npy", labels)
        print(f"buc: step {k} learns {labels.max() + 1} clusters", flush=True)
        given = {"seed": (seed, 5, k), "every": run.common["every"]}
        variables = train(directory, images, labels, settings, before, **given)
        arrays: dict[str, Any] = dict(flatten_dict(variables, sep="/"))
        np.savez(directory / "network.npz", **arrays)

    determined_by = {
        "reid": asdict(settings),
        "pretrained": arms.checksum(settings.pretrained),
        "seed": seed,
        "data": run.data.target.made_by,
        "size": list(images.size),
        "step": k,
    }
    determined_by |= {"before": before.made_by, "buc": merging} if before else {}
    made_by = run_once(directory, determined_by, make)
    return Trained("buc", directory, partial(read, directory, settings), settings.batch, made_by)


def merged(before: Trained, images: Split, *, share: float, size_weight: float) -> np.ndarray:
    """The clusters of the step before, less int(share N), by its network's test embeddings."""
    labels = np.load(before.directory / "clusters.npy")
    points = reid.embed(before.model(), images, before.batch).embeddings
    return clustering.merge(points, labels, int(share * len(images)), size_weight=size_weight)


def train(
    directory: Path,
    images: Split,
    labels: np.ndarray,
    settings: reid.Settings,
    before: Trained | None,
    *,
    seed: tuple[int, ...],
    every,
) -> dict[str, Any]:
    """The network before, or a new one, after one step's epochs, with a memory that begins at 0."""
    plan, loaded = shuffled(len(images), settings.batch, seed), reid.loaded(images, settings)
    net, tx, step = program(settings, plan.steps_per_epoch)

    def batch(step: int) -> dict[str, np.ndarray]:
        rows = plan(step)
        return {"image": loaded.images(rows), "label": labels[rows].astype(np.int32)}

    def init():
        key = jax.random.key(int(np.random.default_rng(seed).integers(2**31)))
        variables = before.model().variables if before else _fresh(net, key, images, settings)
        width = variables["params"]["head"]["feat"]["kernel"].shape[-1]
        extra = {"memory": jnp.zeros((len(images), width))}
        extra["clusters"] = jnp.int32(labels.max() + 1)
        return create(jax.random.fold_in(key, 0), {"reid": variables}, tx, extra)

    steps = plan.steps_per_epoch * settings.epochs
    given = {"steps": steps, "directory": directory, "every": every}
    state = fit(init, step, lambda start, stop: prefetch(batch, start, stop), **given)
    trained = state.nets["reid"]
    return {"params": trained.params, "batch_stats": trained.stats}


def read(directory: Path, settings: reid.Settings) -> reid.Model:
    """The network that a finished step left."""
    with np.load(directory / "network.npz") as found:
        variables = unflatten_dict(dict(found), sep="/")
    return reid.Model(reid.build(settings, 0).clone(head=Repelled()), variables)


def _fresh(net, key: jax.Array, images: Split, settings: reid.Settings) -> Mapping[str, Any]:
    variables = reid.initial(net, key, images.size)
    if settings.pretrained:
        variables, report = load_pretrained(settings.pretrained, variables)
        print(f"buc: {settings.pretrained}: {report.describe()}", flush=True)
    return variables


def _require(options: Mapping[str, Any]) -> None:
    for name, least in {"merges": 0, "batch": 1, "epochs": 1, "later_epochs": 1}.items():
        if options[name] < least:
            raise ValueError(f"buc.{name} is {options[name]}: choose {least} or more")


def _require_images(options: Mapping[str, Any], images: int) -> None:
    """Every step merges as many clusters, and two at least are left."""
    require_batch("buc.batch", options["batch"], images)
    each = int(options["share"] * images)
    if not each or images - options["merges"] * each < 2:
        raise ValueError(
            f"buc.share is {options['share']}: each of {options['merges']} merging steps "
            f"(buc.merges) takes {each} of {images} clusters away, but it must take at least 1 "
            "and all together must leave 2; change one of them"
        )
