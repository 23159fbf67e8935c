"""CE2L: images converted between visible and infrared, two-stream network, cross-class ranking.

Paper: the poster of Dai, Xie, Ma, Liu, Xiong, "RGB-Infrared Person Re-identification via Image
Modality Conversion". Its full text and code are not public, nor is what the name stands for.
Command: ``python launch.py --config=configs/ce2l.py``, in SYSU-MM01's form with
``--config.data.world.layout=sysu_mm01``, and at full size ``python launch.py
--config=configs/ce2l.py:paper --config.data.root=RegDB --config.data.trial=1`` or
``--config.data.name=sysu_mm01 --config.data.root=SYSU-MM01
--config.ce2l.permutations=rand_perm_cam.mat`` (``sysu_mm01_noval`` trains on 296 people, not 395).

Published, rank-1 / rank-10 / rank-20 / mAP in percent, as the poster prints them:

                  RegDB                           SYSU-MM01, all-search, single shot
    LOMO           0.85 /  2.47 /  4.10 /  2.28    1.75 / 14.14 / 26.63 /  3.48
    MLBP           2.02 /  7.33 / 10.90 /  6.77    2.12 / 16.23 / 28.32 /  3.86
    HOG           13.49 / 33.22 / 43.66 / 10.31    2.76 / 18.25 / 31.91 /  4.24
    GSM           17.28 / 34.47 / 45.26 / 15.06    5.29 / 33.71 / 52.95 /  8.00
    One-stream    13.11 / 32.98 / 42.51 / 14.02   12.04 / 49.68 / 66.74 / 13.67
    Two-stream    12.43 / 30.36 / 40.96 / 13.42   11.65 / 47.99 / 65.50 / 12.85
    Zero-Padding  17.75 / 34.21 / 44.35 / 18.90   14.80 / 54.12 / 71.33 / 15.95
    TONE          16.87 / 34.03 / 44.10 / 14.92   12.52 / 50.72 / 68.60 / 14.42
    HCML          24.44 / 47.53 / 56.78 / 20.80   14.32 / 53.16 / 69.17 / 16.16
    D2RL          43.4  / 66.1  / 76.3  / 44.1    28.9  / 70.6  / 82.4  / 29.2
    BaseLine      33.47 / 58.42 / 67.52 / 31.83   17.01 / 55.43 / 71.96 / 19.66
    CE2L          47.50 / 72.17 / 79.87 / 44.21   29.52 / 69.83 / 82.49 / 28.43

CE2L is not best everywhere: on SYSU-MM01 D2RL has the higher rank-10 and mAP. BaseLine has BDTR's
published numbers, so the difference from it may be no controlled comparison. Which modality RegDB's
queries are of is not said; BDTR's code takes visible ones. LOMO and HOG on SYSU-MM01 are Wu et
al.'s, without a learned metric. BDTR starts from ImageNet's AlexNet
(``--config.modal.pretrained=FILE``, ``jaxreid/nets/convert_streams.py``); without it numbers are
not comparable.

From the poster: conversion by CycleGAN, smoothed labels of converted images, the form of the two
ranking losses, 256x256 cropped to 227x227, dropout 0.5, rate 0.001. From the code of BDTR (Ye et
al., IJCAI 2018): the network, margins and weights, means where the poster prints sums, which pairs
the term within a modality takes, batches, 5,000 steps of SGD, features and distance; its published
network is that of step 2,500, tested here, too (``modal.kept``). Our guesses: one CycleGAN for
both modalities with CamStyle's settings, trained on training people alone; how converted images
join the batch (``modal.form``) and that they pass the stream of the modality that they look like;
the smoothing's 0.1; the sum of the four terms. Where the code of BDTR slips, a key brings its
slips back: ``fc6_bn_eval=batch``, ``mean_order=as_code``, ``crop_mode=diagonal``. Rivals are Wu et
al.'s networks (ICCV 2017; how they are trained is our guess, with as many steps at ``paper``),
TONE, and HCML upon TONE's features (both Ye et al., AAAI 2018, with the settings of their code).
TONE's batches are not its authors': theirs are 64 consecutive entries of the lists, several images
of each of few people, with infrared images half from the same places and half at random; ours are
one image of either modality of 64 different people, half of the infrared ones of people at random.
Wu et al.'s features and HCML's projections are ranked by plain Euclidean distance, as in their
papers, TONE's and BDTR's at unit length.

``rivals`` and ``tone`` have the keys of ``modal``. Of ``rivals`` those of AlexNet's form
(``hidden``, ``fc6`` and so on) and of converted images are not read, nor is ``ce2l.multi_shot`` on
RegDB.

Left out: a CycleGAN for each pair of SYSU-MM01's cameras (eight; one sentence of the poster may
mean that), converted images at test (the poster has none), tests every 500 steps, Wu et al.'s
domain indicator, AGW's recipe of training, and the rivals D2RL, GSM (of which too little is known
here) and MLBP.

``demo`` and ``tiny`` have the same streams with four small convolutions, each with a norm, from
scratch and without dropout.

Sweeps: ``trial`` (RegDB's ten), ``form`` (how converted images join), ``losses`` (its options),
``net`` (the small AlexNet's form, or a ResNet with a stem per modality: ResNet-50 at ``paper``,
whose stems and stages can start from torchvision's weights), ``layout`` (the demo in RegDB's form
and in SYSU-MM01's). In RegDB's form both cameras look at one visit of a person, at other moments.
``near`` is the demo in SYSU-MM01's form with settings that were chosen there, on seed 0.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

FEATURES = ("lomo", "lomo_xqda", "hog")  # made by hand; others are in stages/handcrafted.py
RIVALS = ("one_stream", "two_stream", "zero_padding", "tone", "hcml")  # or asymmetric_fc

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "trial": {str(trial): {"data.trial": trial} for trial in range(1, 11)},
    "form": {form: {"modal.form": form} for form in ("paired", "pool", "ratio")},
    "losses": {
        "all": {},
        "hard_labels": {"losses.lsr_on_converted": False},
        "smooth_real": {"losses.lsr_on_real": True},
        "rank_real": {"losses.converted_in_rank_loss": False},
        "all_positives": {"losses.positives": "all"},
        "not_anchored": {"losses.anchored": False},
        "no_ranking": {"losses.cross": 0.0, "losses.intra": 0.0},
    },
    "net": {"streams": {}, "resnet": {"modal.net": "resnet"}},
    "layout": {
        form: {"data.name": "world", "data.world.layout": form} for form in ("regdb", "sysu_mm01")
    },
    "near": {
        "near": {
            "data.name": "world",
            "data.world.layout": "sysu_mm01",
            "data.world.images_per_camera": 2.0,
            "modal.steps": 2000,
            "modal.fall": 1600,
            "modal.weight_decay": 5e-3,
        }
    },
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    return ConfigDict(
        {
            "system": "ce2l",
            **common.training(scale),
            "data": common.modalities(scale),
            "gan": converter(scale),
            "modal": modal(scale),
            "losses": losses(),
            "rivals": rivals(scale),
            "tone": tone(scale),
            "contrast": {"weight": 0.2, "margin": 0.5},
            "ce2l": {
                "rivals": RIVALS[2:] if scale == "tiny" else RIVALS,
                "features": FEATURES[-1:] if scale == "tiny" else FEATURES,
                "jitter": 0.2,
                "multi_shot": scale == "paper",
                "permutations": "",
            },
        }
    )


def converter(scale: str) -> ConfigDict:
    """CamStyle's CycleGAN, one for both modalities."""
    block = common.cyclegan(scale)
    if scale == "demo":
        block.update({"epochs": 2, "decay_epochs": 2})
    return block


def losses() -> ConfigDict:
    """The four terms: weights and margins of BDTR's code, CamStyle's smoothing."""
    weights = {"identity": 1.0, "lsr": 1.0, "cross": 1.0, "intra": 0.1}
    pairs = {"cross_margin": 0.5, "intra_margin": 0.1, "positives": "hardest", "anchored": True}
    labels = {"epsilon": 0.1, "lsr_on_converted": True, "lsr_on_real": False}
    return ConfigDict({**weights, **pairs, **labels, "converted_in_rank_loss": True})


def modal(scale: str) -> ConfigDict:
    """The two streams and their training, BDTR's."""
    block = ConfigDict(
        {
            "net": "alexnet",
            "depth": 50,
            "resnet_width": 64,
            "width": 96,
            "hidden": 4096,
            "embedding": 1024,
            "dropout": 0.5,
            "fc6": "norm",
            "decay": 0.999,
            "fc6_bn_eval": "running",
            "mean_order": "correct",
            "pretrained": "",
            "size": (227, 227),
            "crop_mode": "free",
            "flip": False,
            "jitter": 0.0,
            "batch": 64,
            "form": "paired",
            "converted_people": 16,
            "strangers": 0,
            "steps": 5000,
            "kept": 2500,
            "rate": 1e-3,
            "fall": 0,
            "weight_decay": 0.0,
        }
    )
    if scale != "paper":
        block.update({"net": "small", "width": 16, "hidden": 512, "embedding": 128, "decay": 0.9})
        block.update({"dropout": 0.0, "depth": 18, "resnet_width": 16, "size": (57, 28)})
        block.update({"flip": True})
        block.update({"steps": 1500, "kept": 0, "rate": 0.05, "fall": 1200})
    if scale == "tiny":
        block.update({"width": 4, "resnet_width": 4, "hidden": 8, "embedding": 8})
        block.update({"size": (28, 14)})
        block.update({"batch": 4, "converted_people": 1, "steps": 4, "kept": 2, "fall": 3})
    return block


def rivals(scale: str) -> ConfigDict:
    """Wu et al.'s network and our reading of its training; ``net`` is each rival in turn."""
    block = modal(scale)
    block.update({"net": "one_stream", "width": 16, "embedding": 256, "rate": 0.01, "kept": 0})
    if scale == "demo":
        block.update({"width": 8, "rate": 0.05, "steps": 600, "fall": 500})
    if scale == "tiny":
        block.update({"width": 4, "embedding": 8, "fall": 3})
    if scale == "paper":
        block.update({"size": (224, 224), "batch": 32, "fall": 3333})
    return block


def tone(scale: str) -> ConfigDict:
    """TONE's network and training, whose published features are those of step 900."""
    block = modal(scale)
    embedding, strangers = {"paper": (2048, 32), "demo": (256, 32), "tiny": (16, 2)}[scale]
    block.update({"fc6": "relu", "embedding": embedding, "form": "", "strangers": strangers})
    if scale == "paper":
        block.update({"steps": 1501, "kept": 900})
    return block
