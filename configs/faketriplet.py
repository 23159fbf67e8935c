"""StarGAN + fake triplet: generated images as the far positives of real anchors.

Paper: Qin, Gu, Wang, Qi, Zhang, "Learning Camera-invariant Representation", ICANN 2019.
Command: ``python launch.py --config=configs/faketriplet.py``, and at the size of the paper
``python launch.py --config=configs/faketriplet.py:paper --config.data.root=Market-1501-v15.09.15``
Published, rank-1 / mAP, by their level on Market-1501: IDE with L_cls + L_tri 89.49 / 74.95, with
L_fake 90.70 / 76.48; Mid-level 90.53 / 76.79 and 92.73 / 79.41. Give ImageNet weights by
``--config.reid.pretrained=...``.

The paper prints no margins, batch, rates, schedule or amount of smoothing. Those here are
deep-person-reid's, whose Mid-level baseline is the paper's to 0.2 points (its IDE is 2 points
lower): on Market-1501, 42 epochs of 404 steps stand for its 180 of 93, and its rate, too, falls
after every third. On DukeMTMC-reID say ``reid.epochs=30 reid.decay_every=10``. Two things of that
code are not kept: a person with fewer than four images fills a batch with even repeats, and images
are resized bicubically. Ranking is by Euclidean distance of embeddings as they are.

Tables of the paper: ``--sweep=losses`` (1; at ``demo`` its Mid-level rows have a deeper trunk, as
that head needs one) and ``--sweep=cameras`` (2, six cameras); ``--sweep=world_cameras`` is the
latter for the demo's three. Ours: ``--sweep=translators``. ``fake_groups`` are the styles that
fakes are drawn from, never the image's own camera; see ``systems.faketriplet.parse_groups``.

Scale ``demo`` differs from that of the other systems: 1.5 cameras have seen each training person on
average. With two, the one run that was tried left translations by the world itself little to add to
triplets of real images. SGD with a warm-up, since triplets collapsed in runs with Adam. Its StarGAN
is small and quick (``common.stargan``), with as many turns of the generator as of D.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

MIDLEVEL = {"reid.head": "midlevel", "reid.depth": 50}
SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "losses": {
        **{
            terms: {"faketriplet.terms": terms}
            for terms in ("cls", "tri", "cls+tri", "tri+fake", "cls+tri+fake")
        },
        "midlevel_cls+tri": MIDLEVEL | {"faketriplet.terms": "cls+tri"},
        "midlevel_cls+tri+fake": MIDLEVEL | {"faketriplet.terms": "cls+tri+fake"},
    },
    "cameras": {
        "real": {"faketriplet.terms": "cls+tri"},
        "all": {"faketriplet.fake_groups": ""},
        "123_then_456": {"faketriplet.fake_groups": "1,2,3;4,5,6"},
        "456": {"faketriplet.fake_groups": "4,5,6"},
        "123": {"faketriplet.fake_groups": "1,2,3"},
    },
    "translators": {kind: {"translator": kind} for kind in ("cyclegan", "stargan")},
    "world_cameras": {
        "real": {"faketriplet.terms": "cls+tri"},
        "all": {"faketriplet.fake_groups": ""},
        "12_then_3": {"faketriplet.fake_groups": "1,2;3"},
        "12": {"faketriplet.fake_groups": "1,2"},
        "23": {"faketriplet.fake_groups": "2,3"},
    },
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    data, reid = common.data(scale), common.reid(scale)
    reid.update({"head": "direct", "images_per_identity": 4, "generated_batch": reid.batch})
    if scale == "demo":
        data.update({"world": {"cameras_per_identity": 1.5}})
        reid.update({"rate": 0.02, "head_rate": 0.05, "warmup": 3})
    if scale == "paper":
        reid.update({"optimiser": "adam", "rate": 3e-4, "head_rate": 3e-4, "crop": "translated"})
        reid.update({"batch": 32, "generated_batch": 32, "epochs": 42, "decay_every": 14})
    return ConfigDict(
        {
            "system": "faketriplet",
            **common.training(scale),
            "data": data,
            "reid": reid,
            "translator": "stargan",
            "gan": common.cyclegan(scale),
            "stargan": common.stargan(scale),
            "faketriplet": {
                "terms": "cls+tri+fake",
                "margin": 0.3,
                "fake_margin": 0.3,
                "negatives": "real",
                "epsilon": 0.1,
                "smooth_on": "all",
                "cls_on_fake": True,
                "two_passes": False,
                "fake_groups": "",
                "jitter": 0.05,
                "judge": scale == "tiny",
            },
        }
    )
