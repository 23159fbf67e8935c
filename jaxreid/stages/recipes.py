"""What a re-ID network of a cross-domain arm lowers: the paper's IDE, or a strong recipe."""

import jax

from jaxreid import losses
from jaxreid.stages.reid import ReidLoss, identity_loss
from jaxreid.stages.reid_turn import Forward, Terms

EPSILON, MARGIN = 0.1, 0.3


def strong_loss(forward: Forward, stats, batch, key: jax.Array) -> tuple[Terms, object]:
    """Smoothed cross-entropy and batch-hard triplet of the metric embedding, a mean each.

    Luo, Gu, Liao, Lai, Jiang, "Bag of Tricks and A Strong Baseline for Deep Person
    Re-identification", CVPRW 2019: smoothing 0.1, margin 0.3. Batches hold several images of every
    identity (``reid.images_per_identity``); the recipe's other parts are settings: head ``bnneck``,
    last stride 1, warm-up. Random erasing is left out, since it harms across domains.
    """
    outputs, stats = forward(stats, batch["image"], key)
    targets = losses.smooth_labels(batch["label"], outputs["logits"].shape[-1], EPSILON)
    triplets = losses.triplet(outputs["metric"], batch["label"], margin=MARGIN)
    return {
        "identity": losses.cross_entropy(outputs["logits"], targets).mean(),
        "triplet": triplets.mean(),
    }, stats


LOSSES: dict[str, ReidLoss] = {"ide": identity_loss, "strong": strong_loss}
