"""Blocks that several configs share. SCALE is one of ``demo``, ``tiny``, ``paper``."""

from typing import Any

from ml_collections import ConfigDict

SCALES = ("demo", "tiny", "paper")


def check(scale: str) -> None:
    """Refuses a scale that no config knows."""
    if scale not in SCALES:
        raise ValueError(f"no scale {scale!r} in this config; use one of {', '.join(SCALES)}")


def training(scale: str) -> dict[str, Any]:
    """What holds for every training of a run.

    ``every``: steps between two log lines, checkpoints, sample grids. ``parallel``: ``jit``, or
    ``pmap`` with ``shards`` parts of every batch, one per device if 0, each with its own batch
    statistics and mining, or ``accumulate``, the same in less memory
    (``jaxreid/training/mesh.py``). ``dtype``: what networks compute in, ``float32`` or
    ``bfloat16``; parameters, statistics and losses stay in float32. ``rerank``: whether results and
    report also have the scores after k-reciprocal re-ranking; it changes nothing else.
    """
    steps = {"demo": (100, 500, 1000), "tiny": (2, 3, 4), "paper": (50, 500, 2000)}[scale]
    every = dict(zip(("log", "save", "sample"), steps, strict=True))
    return {
        "seed": 0,
        "every": every,
        "parallel": "jit",
        "shards": 0,
        "dtype": "float32",
        "rerank": False,
    }


def data(scale: str) -> ConfigDict:
    """Where pictures come from: the embedded world, or Market-1501 at scale ``paper``."""
    block = ConfigDict({"name": "world", "root": "", "height": 64, "width": 32})
    block.world = {
        "seed": 0,
        "train_identities": 240,
        "test_identities": 40,
        "cameras": 3,
        "cameras_per_identity": 2.0,
        "images_per_camera": 3.0,
        "test_cameras_per_identity": 3.0,
        "test_images_per_camera": 4.0,
        "distractors": 40,
        "junk": 30,
        "height": 128,
        "width": 64,
        "strength": 0.55,
    }
    if scale == "tiny":
        block.update({"height": 32, "width": 16})
        block.world.update({"train_identities": 8, "test_identities": 5, "images_per_camera": 2.0})
        block.world.update({"distractors": 4, "junk": 2, "height": 32, "width": 16})
    if scale == "paper":
        block.update({"name": "market1501", "height": 256, "width": 128})
    return block


def domains(scale: str) -> ConfigDict:
    """A labelled source and an unlabelled target: two cities, or Market-1501 to MSMT17."""
    block = data(scale).to_dict()
    pair = {"height": block["height"], "width": block["width"]}
    for name, city in (("source", 0), ("target", 1)):
        world = block["world"] | {"city": city}
        pair[name] = {"name": block["name"], "root": "", "world": world, "masks": "root"}
    pair["target"]["world"] |= {"layout": "dukemtmc_reid", "junk": 0, "seed": 500}
    if scale == "paper":
        pair["target"]["name"] = "msmt17_v2"
    return ConfigDict(pair)


def modalities(scale: str) -> ConfigDict:
    """Visible and infrared images of the same people: a world in RegDB's form, or RegDB's.

    ``--config.data.world.layout=sysu_mm01`` makes it a world in SYSU-MM01's form; ``trial`` is one
    of RegDB's ten, in which networks are trained and tested. Summer clothes, of the second city:
    bare arms and legs are seen in both modalities, where autumn's long sleeves and trousers leave
    little to match people by; and many people, as colour-blind networks from scratch need.
    """
    block = ConfigDict({"name": "world", "root": "", "trial": 1, "height": 64, "width": 32})
    block.world = {
        "seed": 0,
        "city": 1,
        "train_identities": 600,
        "test_identities": 60,
        "images_per_camera": 4.0,
        "height": 128,
        "width": 64,
        "strength": 0.55,
        "layout": "regdb",
    }
    if scale == "tiny":
        block.update({"height": 32, "width": 16})
        block.world.update({"train_identities": 8, "test_identities": 5, "images_per_camera": 2.0})
        block.world.update({"height": 32, "width": 16})
    if scale == "paper":
        block.update({"name": "regdb", "height": 256, "width": 256})
    return block


STRONG: dict[str, Any] = {
    "crossing.recipe": "strong",
    "reid.head": "bnneck",
    "reid.images_per_identity": 4,
    "reid.last_stride": 1,
    "reid.warmup": 5,
}
RECIPES: dict[str, dict[str, Any]] = {
    "ide": {},
    "jittered": {"reid.jitter": 0.2},
    "strong": STRONG,
}
"""Sweep of the cross-domain systems: does a gain survive colour jitter, a stronger network?"""


BACK: dict[str, dict[str, Any]] = {
    "back": {"data.source.world.city": 1, "data.target.world.city": 0}
}
"""Sweep of one row: from the second city to the first."""


def crossing(scale: str) -> ConfigDict:
    """Cross-domain systems: how all arms are trained and tested, and the rival's jitter.

    ``parts`` are stripes of local max pooling in a second test. ``recipe`` is ``ide`` or
    ``strong`` (``stages/recipes.py``), ``size`` what re-ID networks see if not the size of the
    data, ``frozen_norms`` keeps the norms of pretrained weights, ``mirror`` adds mirrored images at
    test. ``features`` name the network of Frechet and kernel distances (``stages/quality.py``),
    ``reid`` the run's own baseline; ``lpips`` the trunk of LPIPS, if any: they need weights.
    """
    parts = {"demo": 4, "tiny": 2, "paper": 8}[scale]
    block = ConfigDict({"parts": parts, "jitter": 0.2, "features": "reid", "lpips": ""})
    block.update({"recipe": "ide", "size": (0, 0), "frozen_norms": False, "mirror": False})
    block.update({"judge": False})
    return block


def reid(scale: str) -> ConfigDict:
    """The IDE network of CamStyle; small and trained from scratch at ``demo`` and ``tiny``."""
    block = ConfigDict(
        {
            "backbone": "resnet",
            "depth": 18,
            "width": 16,
            "stem": "small",
            "last_stride": 2,
            "ibn": "",
            "head": "fc1024",
            "pretrained": "",
            "batch": 64,
            "images_per_identity": 0,
            "epochs": 28,
            "optimiser": "sgd",
            "rate": 0.05,
            "head_rate": 0.1,
            "warmup": 0,
            "decay_every": 20,
            "weight_decay": 5e-4,
            "crop": "pad",
            "pad": 3,
            "erasing": 0.0,
            "jitter": 0.0,
            "seeds": 1,
        }
    )
    if scale == "tiny":
        block.update({"width": 8, "batch": 8, "epochs": 2, "decay_every": 1})
    if scale == "paper":
        block.update(
            {"depth": 50, "width": 64, "stem": "imagenet", "last_stride": 2, "batch": 128}
            | {"epochs": 50, "rate": 0.01, "decay_every": 40}
            | {"crop": "resized", "pad": 0}
        )
    return block


def caffe_ide(config: ConfigDict) -> None:
    """SPGAN's IDE, with which its and PTGAN's tables were made, in the place of ``paper``'s.

    224x224, flips alone, the norms of the ImageNet weights; seven stripes on its 7 rows. Its first
    layers learn here, too, which the authors' files for translated images freeze.
    """
    crossing = {"size": (224, 224), "frozen_norms": True, "parts": 7}
    net = {"head": "direct_caffe", "crop": "pad", "pad": 0, "batch": 16}
    net |= {"rate": 1e-3, "head_rate": 1e-3, "decay_every": 40, "epochs": 50}
    config.update({"crossing": crossing, "reid": net})


def ide_plus(config: ConfigDict) -> None:
    """IDE+ of the SPGAN authors, at 256x128, in the place of ``paper``'s network."""
    crossing = {"frozen_norms": True, "mirror": True, "parts": 8}
    net = {"head": "fc512", "crop": "enlarged", "pad": 0, "batch": 16}
    net |= {"rate": 1e-3, "head_rate": 1e-2, "decay_every": 40, "epochs": 60}
    config.update({"crossing": crossing, "reid": net})


def tracklets(scale: str) -> ConfigDict:
    """Tracklet association (TAUDL) on the target, as the released scripts have it."""
    block = ConfigDict(
        {
            "embedding": 2048,
            "tracklets": 96,
            "images": 4,
            "epochs": 200,
            "rate": 3.5e-4,
            "weight_decay": 5e-4,
            "constant_epochs": 100,
            "fall_epochs": 50,
            "association": 0.7,
            "reduction": "mean",
            "sigma": 2.0,
            "neighbours": 0,
            "include_self": False,
            "per_camera_norm": False,
        }
    )
    if scale == "demo":
        block.update({"embedding": 128, "tracklets": 24, "epochs": 30})
        block.update({"constant_epochs": 20, "fall_epochs": 10})
    if scale == "tiny":
        block.update({"embedding": 16, "tracklets": 6, "images": 2, "epochs": 2})
        block.update({"constant_epochs": 0, "fall_epochs": 1})
    return block


def cyclegan(scale: str) -> ConfigDict:
    """One translator per pair of cameras, as CamStyle's images were made."""
    block = ConfigDict(
        {
            "width": 64,
            "blocks": 9,
            "halvings": 2,
            "patch_layers": 3,
            "dropout": 0.0,
            "batch": 1,
            "margin": 286 / 256 - 1,
            "cycle_weight": 10.0,
            "identity_weight": 5.0,
            "pool": 50,
            "rate": 2e-4,
            "epochs": 30,
            "decay_epochs": 20,
            "candidates": 1,
        }
    )
    if scale == "demo":
        block.update(
            {
                "width": 16,
                "blocks": 2,
                "halvings": 1,
                "patch_layers": 1,
                "rate": 1e-3,
                "epochs": 3,
                "decay_epochs": 5,
            }
        )
    if scale == "tiny":
        block.update(
            {
                "width": 4,
                "blocks": 1,
                "patch_layers": 2,
                "batch": 4,
                "epochs": 1,
                "decay_epochs": 1,
                "pool": 6,
            }
        )
    return block


def stargan(scale: str) -> ConfigDict:
    """One translator between all cameras, as HHL trained it on person images."""
    block = ConfigDict(
        {
            "width": 64,
            "blocks": 6,
            "halvings": 2,
            "judge_width": 64,
            "judge_layers": 6,
            "batch": 16,
            "margin": 288 / 256 - 1,
            "class_weight": 1.0,
            "cycle_weight": 10.0,
            "penalty_weight": 10.0,
            "turns": 5,
            "rate": 1e-4,
            "decay": "linear",
            "steps": 220_000,
            "decay_steps": 110_000,
            "candidates": 1,
        }
    )
    if scale == "demo":
        block.update({"width": 16, "blocks": 2, "halvings": 0, "judge_width": 16})
        block.update({"judge_layers": 5, "batch": 2, "turns": 1, "cycle_weight": 5.0})
        block.update({"rate": 1e-3, "steps": 8000, "decay_steps": 5000})
    if scale == "tiny":
        block.update({"width": 4, "blocks": 1, "halvings": 1, "judge_width": 4})
        block.update({"judge_layers": 4, "batch": 4, "turns": 2, "steps": 8, "decay_steps": 4})
    return block
