"""CR-GAN: source people in the context of target images, rendered while the re-ID network learns.

Paper: Chen, Zhu, Gong, "Instance-Guided Context Rendering for Cross-Domain Person
Re-Identification", ICCV 2019.
Command: ``python launch.py --config=configs/crgan.py``, and at full size
``python launch.py --config=configs/crgan.py:paper --config.data.source.root=Market-1501-v15.09.15
--config.data.target.root=MSMT17_V2``, with masks of the persons of both sets as for PTGAN.
Published, rank-1 / mAP, CR-GAN + LMP from ImageNet weights: Market-1501 to DukeMTMC-reID 56.0 /
33.3 (one digit of the source is hard to read), back 64.5 / 33.2. With TAUDL, which uses identities
per camera of the target: 68.9 / 48.6 and 77.7 / 54.0; elsewhere that is called plain "CR-GAN".

No code was published and this is no reproduction. Known from the paper are the four losses, the two
encoders, the U-Net with residual blocks and the composition with the source. Ours are: all layer
sizes; the weights 1, 1, 1, 100; the mean of squares in the context loss; that the target's
background counts only outside the source person (``renderer.mask_mode``); the log loss in its
non-saturating form; three judges that share nothing, of which C_id is the network of direct
transfer; the schedule; that every training image is rendered (``crgan.real_source_ratio`` 0) and
augmented afterwards. On the fly a rendering is never rounded to bytes; from disk it is.
``crgan.taudl=True`` adds CR-GAN + TAUDL: tracklet association on the target (``configs/taudl.py``),
beginning with the network that renderings taught.

Sweeps: ``context`` (weight of the context loss), ``masks`` (where the background counts),
``deploy`` (on the fly, or from disk with one and with four renderings of every image), ``recipe``
(IDE, IDE with colour jitter in all arms, a strong re-ID network), ``back`` (from the second city to
the first). At scale ``paper`` the network is IDE+.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

DISK = {"crgan.deploy": "disk"}
SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "context": {
        f"{weight:g}": {"renderer.context_weight": weight} for weight in (1.0, 10.0, 100.0)
    },
    "masks": {
        mode: {"renderer.mask_mode": mode}
        for mode in ("intersection", "target_background", "not_source_person")
    },
    "deploy": {
        "on_the_fly": {},
        **{f"disk_{n}": DISK | {"crgan.pairs_per_image": n} for n in (1, 4)},
    },
    "recipe": common.RECIPES,
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    options = {"deploy": "on_the_fly", "real_source_ratio": 0.0, "pairs_per_image": 1}
    options |= {"taudl": False}
    config = ConfigDict(
        {
            "system": "crgan",
            **common.training(scale),
            "data": common.domains(scale),
            "reid": common.reid(scale),
            "renderer": renderer(scale),
            "crgan": options,
            "tracklets": common.tracklets(scale),
            "crossing": common.crossing(scale),
        }
    )
    if scale == "paper":
        common.ide_plus(config)
    return config


def renderer(scale: str) -> ConfigDict:
    """The generator and its training."""
    block = ConfigDict(
        {
            "width": 64,
            "blocks": 6,
            "judge_width": 64,
            "patch_layers": 3,
            "batch": 16,
            "margin": 286 / 256 - 1,
            "balanced": False,
            "adversarial": "log",
            "identity_weight": 1.0,
            "camera_weight": 1.0,
            "context_weight": 100.0,
            "norm": "mean_square",
            "mask_mode": "intersection",
            "pool": 0,
            "ema": 0.0,
            "rate": 2e-4,
            "steps": 60_000,
            "decay_steps": 30_000,
        }
    )
    if scale == "demo":
        block.update({"width": 16, "blocks": 2, "judge_width": 16, "patch_layers": 1})
        block.update({"batch": 8, "rate": 1e-3, "steps": 4000, "decay_steps": 2000})
    if scale == "tiny":
        block.update({"width": 4, "blocks": 1, "judge_width": 4, "patch_layers": 1})
        block.update({"batch": 4, "steps": 4, "decay_steps": 2})
    return block
