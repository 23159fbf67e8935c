"""UnityStyle: one UnityGAN per camera; training and test images in a style that all cameras share.

Paper: Liu, Chang, Shen, "Unity Style Transfer for Person Re-Identification", CVPR 2020.
Command: ``python launch.py --config=configs/unitystyle.py``, and at the size of the paper
``python launch.py --config=configs/unitystyle.py:paper --config.data.root=Market-1501-v15.09.15``
Give ImageNet weights by ``--config.reid.pretrained=...``.
Published: the paper's tables could not be consulted, so no numbers stand here.

The paper leaves open the weights of its terms, the drawing of its blocks, the attention module, the
discriminator, batch and length of training. At ``paper`` they are GANimorph's, whose objective
UnityGAN shares, with room made for the identity term, and CamStyle's length. The test needs the
camera of every query and gallery image; ``unitystyle_real`` is the same network tested on real
images. Sweep ``attention``: its last row lets the losses' weights pass gradients to attention, as
printed; the normalisation stays around the weighted sum.

Scale ``demo`` differs in more than size. Batches of two have instance norm in the place of IBN.
Shares of the terms, rate and length were chosen by judges and pictures on worlds of other seeds
than the evidence's: with a quarter of the steps, clothes lost their colours. ``tiny`` has IBN in
batches of four, fewer than it needs to learn anything.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "attention": {
        "drawn": {"unitygan.draw": "one"},
        "all_cameras": {"unitygan.draw": "all"},
        "flowing": {
            "unitygan.draw": "all",
            "unitygan.weight_grad": "flow",
            "unitygan.weight_norm": "none",
        },
    },
    "norm": {
        "together": {"unitystyle.separate_bn_batches": False},
        "apart": {"unitystyle.separate_bn_batches": True},
    },
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    reid = common.reid(scale)
    gan = ConfigDict(
        {
            "width": 64,
            "blocks": 3,
            "merge": "add",
            "norm": "ibn",
            "batch": 8,
            "margin": 286 / 256 - 1,
            "gan_weight": 0.4,
            "matching_weight": 0.2,
            "identity_weight": 0.1,
            "cycle_weight": 0.3,
            "ssim_share": 0.7,
            "beta": 0.99,
            "update_every": 200,
            "draw": "all",
            "weight_grad": "stop",
            "weight_norm": "sum1",
            "rate": 2e-4,
            "epochs": 30,
            "decay_epochs": 20,
        }
    )
    if scale == "demo":
        gan.update(
            {"width": 8, "blocks": 1, "norm": "in", "batch": 2, "draw": "one", "rate": 3e-3}
            | {"gan_weight": 0.1, "identity_weight": 0.35, "cycle_weight": 0.35, "ssim_share": 0.3}
            | {"beta": 0.95, "update_every": 20, "epochs": 3, "decay_epochs": 5}
        )
    if scale == "tiny":
        gan.update({"width": 4, "blocks": 1, "batch": 4, "draw": "one", "epochs": 1})
        gan.decay_epochs = 1
    if scale == "paper":
        reid.batch = 64
    reid.generated_batch = reid.batch
    return ConfigDict(
        {
            "system": "unitystyle",
            **common.training(scale),
            "data": common.data(scale),
            "reid": reid,
            "unitygan": gan,
            "unitystyle": {"separate_bn_batches": False, "judge": scale == "tiny", "jitter": 0.2},
        }
    )
