"""PN-GAN: images redrawn in eight canonical poses, features of two networks fused.

Paper: Qian, Fu, Xiang, Wang, Qiu, Wu, Jiang, Xue, "Pose-Normalized Image Generation for Person
Re-identification", ECCV 2018.
Command: ``python launch.py --config=configs/pngan.py``, and at full size ``python launch.py
--config=configs/pngan.py:paper --config.data.root=Market-1501-v15.09.15
--config.data.keypoints=FILE --config.reid.pretrained=resnet50.pth`` with keypoints of all training
pictures as OpenPose, AlphaPose and others write them (``jaxreid/data/keypoint_files.py``) and
ImageNet weights, which the published networks begin with.
Published: the fusion gains 2 to 3 points; Market-1501 to DukeMTMC-reID, without training there,
29.9 rank-1 / 15.8 mAP (that transfer is not built here).

At scale ``paper`` the generator and its losses are the released code's: least squares, the source
image as the discriminator's real one, the last epoch at rate 0. Ours are: the re-ID networks, both
CamStyle's IDE, compared by their 1,024 hidden units; the poses, medoids of 8 groups of normalised
keypoints by k-means in the place of groups of pictures by VGG-19; that the second network has as
many steps as the first, and sees each image of a batch in one pose, drawn anew. ``demo`` has small
networks, compared by their pooled features, a judge of one layer, and five times the weight on the
difference from the target image: cleaner pictures in fewer steps.

Sweeps: ``poses`` (how many), ``fusion`` (how features are fused).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "poses": {str(count): {"poses.poses": count} for count in (1, 2, 4, 8)},
    "fusion": {how: {"pngan.fusion": how} for how in ("max", "mean", "concat")},
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    data = common.data(scale)
    data.keypoints = "root"
    if scale == "demo":
        data.update({"world": {"cameras": 6}})  # of three, none may see people from the front
    net = common.reid(scale)
    net.generated_batch = net.batch
    if scale == "paper":
        net.head = "fc1024_hidden"
    options = {"save_norm": "affine", "fusion": "max", "fuse_renorm": False, "jitter": 0.2}
    return ConfigDict(
        {
            "system": "pngan",
            **common.training(scale),
            "data": data,
            "reid": net,
            "posing": posing(scale),
            "poses": {"poses": 2 if scale == "tiny" else 8, "pose": "medoid", "starts": 10},
            "pngan": options,
        }
    )


def posing(scale: str) -> ConfigDict:
    """The generator and its training."""
    block = ConfigDict(
        {
            "width": 64,
            "blocks": 9,
            "halvings": 2,
            "judge_width": 64,
            "patch_layers": 3,
            "pose_input": "drawing",
            "batch": 32,
            "adversarial": "lsgan",
            "real": "source",
            "l1_weight": 10.0,
            "pairs_per_epoch": 0,
            "rate": 2e-4,
            "epochs": 10,
            "decay_epochs": 10,
        }
    )
    if scale == "demo":
        block.update({"width": 16, "blocks": 4, "halvings": 1, "judge_width": 16})
        block.update({"patch_layers": 1, "batch": 8, "rate": 1e-3, "pairs_per_epoch": 4000})
        block.update({"l1_weight": 50.0, "epochs": 4, "decay_epochs": 4})
    if scale == "tiny":
        block.update({"width": 4, "blocks": 1, "halvings": 1, "judge_width": 4, "patch_layers": 1})
        block.update({"batch": 4, "pairs_per_epoch": 8, "epochs": 1, "decay_epochs": 1})
    return block
