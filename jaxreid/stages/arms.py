"""One arm of an experiment: train a re-ID network, embed query and gallery, score."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.evaluation import MARKET, Protocol
from jaxreid.stages import embedding, reid, reid_seeds, scoring
from jaxreid.stages.scoring import Arm
from jaxreid.stages.sets import Generated, Sets
from jaxreid.training import Every, remembered, run_once
from jaxreid.training.workdir import determined


class Trained(NamedTuple):
    """The network of an arm.

    Attributes:
        name: of the arm.
        directory: of the arm.
        model: reads the network, when something is left to embed.
        batch: images per call when embedding.
        made_by: fingerprint of all that made it.
        protocol: by which it is scored.
        note: what a reader of its scores has to know, for results and report.
        learned: training images of one data set, whose people may not be tested; None if the
            network saw no labels of the set that it is tested on.
        others: networks of the same arm with other seeds, see ``reid.Settings.seeds``.
    """

    name: str
    directory: Path
    model: Callable[[], embedding.Model]
    batch: int
    made_by: str
    protocol: Protocol = MARKET
    note: str = ""
    learned: Split | None = None
    others: tuple["Trained", ...] = ()


def run_arm(
    workdir: Path,
    data: Sets,
    name: str,
    settings: reid.Settings,
    *,
    seed: int,
    every: Every,
    loss: reid.ReidLoss = reid.identity_loss,
    generated: Generated | None = None,
    extras: reid.Extras = reid.PLAIN,
    protocol: Protocol = MARKET,
) -> Arm:
    """Trains and scores one arm below ``workdir``, once; see ``train`` and ``score``."""
    common = {"seed": seed, "every": every, "loss": loss, "generated": generated}
    trained = train(workdir, data, name, settings, **common, extras=extras)
    return score(trained, data, protocol=protocol)


def train(
    workdir: Path,
    data: Sets,
    name: str,
    settings: reid.Settings,
    *,
    seed: int,
    every: Every,
    loss: reid.ReidLoss = reid.identity_loss,
    generated: Generated | None = None,
    extras: reid.Extras = reid.PLAIN,
    joined: reid.Joined | None = None,
    start: Trained | None = None,
    slow: tuple[str, ...] = (),
) -> Trained:
    """Trains the network of one arm below ``workdir``, once; several where settings say so.

    Args:
        workdir: of the whole run.
        data: training images.
        name: of the arm; its directory is ``reid_<name>``, and of one of several networks
            ``seed_<seed>`` in there.
        settings: of the re-ID network.
        seed: of the arm, the first where there are several.
        every: how often to log and save.
        loss: see ``reid.training``; its name and the keywords of a ``functools.partial`` are part
            of the arm's settings.
        generated: see ``reid.training``.
        extras: see ``reid.training``.
        joined: see ``reid.training``.
        start: the network whose backbone this one begins with.
        slow: see ``reid.training``.
    """
    if generated is None:  # then this is not read, and systems that differ in it share the arm
        settings = replace(settings, generated_batch=0)
    directory = workdir / f"reid_{name}"
    fakes = generated.split if generated else None
    given = {"loss": loss, "generated": fakes, "extras": extras, "joined": joined, "slow": slow}
    of = reid.training(data.train, settings, start=start.model if start else None, **given)
    determined_by = {
        "reid": settings.of_one(),
        "loss": {"name": getattr(loss, "func", loss).__name__, **getattr(loss, "keywords", {})},
        "extras": {k: v for k, v in asdict(extras).items() if k != "form" or v},
        "data": data.made_by,
        "size": list(data.train.size),
        "generated": generated.made_by if generated else "",
        "pretrained": checksum(settings.pretrained),
    }
    determined_by |= {"joined": joined.made_by} if joined else {}
    determined_by |= {"start": start.made_by} if start else {}
    determined_by |= {"slow": slow} if slow else {}
    seeds = range(seed, seed + settings.seeds)
    groups = [[seed]] if len(seeds) == 1 else reid_seeds.groups(directory, of, seeds)
    found = {}
    for group in groups:
        place = directory if len(seeds) == 1 else directory / f"seed_{'_'.join(map(str, group))}"
        # Called again, a finished training only reads its last checkpoint.
        label = place.relative_to(workdir).as_posix()
        models = remembered(partial(reid_seeds.train, place, of, group, every, label))
        whose = {"seeds": group} if len(group) > 1 else {"seed": group[0]}
        run_once(place, determined_by | whose, models, trains=True)
        for k, one in enumerate(group):
            own = place / f"seed_{one}" if len(group) > 1 else place
            # Whoever was trained beside it: that is as the number of devices.
            by, model = determined(determined_by | {"seed": one}), partial(_nth, models, k)
            found[one] = Trained(name, own, model, settings.batch, by, learned=data.train)
    first, *others = (found[one] for one in seeds)
    return first._replace(others=tuple(others))


def _nth(models: Callable[[], list[embedding.Model]], number: int) -> embedding.Model:
    return models()[number]


def score(
    trained: Trained, data: Sets, view: str = "", protocol: Protocol = MARKET, parts: int = 0
) -> Arm:
    """Embeds and scores query and gallery, once, and again for every other network of the arm.

    Args:
        trained: the network.
        data: query and gallery.
        view: tells these from other query and gallery images that the same network is tested on;
            part of the name of the arm.
        protocol: by which they are scored.
        parts: stripes of local max pooling, 0 for the network's own test embedding.

    Raises:
        ValueError: as ``scoring.score``.
    """

    def embed(split: Split) -> np.ndarray:
        model = trained.model()
        model = model._replace(net=model.net.clone(parts=parts))
        return embedding.embed(model, split, trained.batch).embeddings

    made = {"made_by": trained.made_by, "learned": trained.learned}
    features = scoring.Features(trained.name, trained.directory, embed, **made)
    further = {"parts": parts} if parts else {}
    first = scoring.score(features, data, view, protocol, further=further)
    others = tuple(score(other, data, view, protocol, parts) for other in trained.others)
    return first._replace(others=others)


def checksum(path: str) -> str:
    """Of the file of weights: another one under the same name is another setting."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path else ""
