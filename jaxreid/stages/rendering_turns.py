"""The turns of CR-GAN's training: its settings, networks and what each turn lowers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxreid import losses
from jaxreid.data import augment
from jaxreid.losses.translation import Norm
from jaxreid.nets.crgan import CameraClassifier, ContextGenerator, Rendering
from jaxreid.nets.cyclegan import PatchGAN
from jaxreid.training import Aux, Interlude, Phase, State, in_dtype
from jaxreid.training.pool import empty_pool, exchange

ADVERSARIAL = {
    "log": (losses.nonsaturating_generator, losses.nonsaturating_discriminator),
    "lsgan": (losses.lsgan_generator, losses.lsgan_discriminator),
}
MASK_MODES = ("target_background", "not_source_person", "intersection")


@dataclass(frozen=True)
class Settings:
    """CR-GAN's generator and its training; but for the losses' form nothing was published.

    Attributes:
        width: channels of the generator at half the size.
        blocks: its residual blocks.
        judge_width: channels of the first layer of the discriminator and the camera classifier.
        patch_layers: stride-2 layers of the discriminator.
        batch: images of the source, and of the target, per step.
        margin: images are loaded this much larger than they are cropped to.
        balanced: draws targets evenly from all cameras instead of from all images.
        adversarial: ``log`` (the poster's, non-saturating) or ``lsgan``.
        identity_weight: of the cross-entropy of C_id on renderings.
        camera_weight: of the cross-entropy of C_cam on renderings.
        context_weight: of the context loss.
        norm: of the context loss, see ``losses.context``.
        mask_mode: where a rendering is asked to equal the target, see ``background``.
        pool: capacity of the discriminator's pool of renderings, 0 for none.
        ema: decay per step of the moving average of the generator's weights, with which it renders
            once it is trained; 0 for the weights of the last step.
        rate: Adam's learning rate; betas 0.5 and 0.999.
        steps: of the whole training.
        decay_steps: the last of them, in which the rate falls linearly to 0.
    """

    width: int
    blocks: int
    judge_width: int
    patch_layers: int
    batch: int
    margin: float
    balanced: bool
    adversarial: str
    identity_weight: float
    camera_weight: float
    context_weight: float
    norm: Norm
    mask_mode: str
    pool: int
    ema: float
    rate: float
    steps: int
    decay_steps: int

    def __post_init__(self):
        """Refuses values that nothing stands behind."""
        for name, known in {"adversarial": tuple(ADVERSARIAL), "mask_mode": MASK_MODES}.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"renderer.{name} is {getattr(self, name)!r}; choose one of {known}"
                )
        if not 0 <= self.ema < 1:
            raise ValueError(f"renderer.ema is {self.ema}: choose a decay from 0 (none) to below 1")
        if not 0 <= self.decay_steps <= self.steps or self.steps < 1:
            raise ValueError(
                f"renderer.decay_steps is {self.decay_steps} and renderer.steps is {self.steps}: "
                "the rate falls in the last decay_steps of them, so choose 0 to renderer.steps"
            )

    def schedule(self) -> Callable[[Any], jax.Array]:
        """The rate in a step, counted from 0."""
        falling = max(1, self.decay_steps)
        return lambda step: self.rate * jnp.minimum(1.0, (self.steps - step) / falling)


def generator_net(settings: Settings) -> ContextGenerator:
    """The generator of ``settings``."""
    return in_dtype(ContextGenerator(settings.width, settings.blocks))


def modules(settings: Settings, cameras: int) -> dict[str, nn.Module]:
    """Generator G, domain discriminator D and camera classifier Ccam."""
    return {
        "G": generator_net(settings),
        "D": in_dtype(PatchGAN(settings.judge_width, settings.patch_layers)),
        "Ccam": in_dtype(CameraClassifier(cameras, settings.judge_width)),
    }


def extras(settings: Settings, params: Any, size: tuple[int, int]) -> dict[str, Any]:
    """What survives a step beside the networks: pool and average of ``params``, where asked for."""
    pool = {"pool": empty_pool(settings.pool, (*size, 3))} if settings.pool else {}
    return pool | ({"average": jax.tree.map(jnp.copy, params)} if settings.ema else {})


def deployed(settings: Settings, state: State) -> Any:
    """Parameters of the generator with which images are rendered outside its training."""
    return state.extra["average"] if settings.ema else state.nets["G"].params


def background(mode: str, source_person: jax.Array, target_person: jax.Array) -> jax.Array:
    """M_B: where a rendering is asked to equal the target image.

    ``target_background`` asks pixels of the source person that meet background of the target to
    equal both images; ``not_source_person`` asks for the target's person, too; ``intersection``
    asks for neither, and what is outside both masks is left to the discriminator.

    Args:
        mode: one of ``MASK_MODES``.
        source_person: ``[..., 1]`` in [0, 1], 1 on the person.
        target_person: that of the target image.
    """
    away = jnp.ones_like(source_person) if mode == "target_background" else 1 - source_person
    return away if mode == "not_source_person" else away * (1 - target_person)


def phases(
    settings: Settings, nets: Mapping[str, nn.Module], judge: nn.Module, size: tuple[int, int]
) -> list[Phase | Interlude]:
    r"""CR-GAN's two turns: the discriminator and the camera classifier, then the generator.

    $$L_D = \overline{\ell_D(D(X_T), D(X_G))}, \qquad L_{Ccam} = \overline{CE(C_{cam}(X_T), y_c)}$$
    $$L_G = \overline{\ell_G(D(X_G))} + w_{id}\overline{CE(C_{id}(X_G), y_j)}
          + w_{cam}\overline{CE(C_{cam}(X_G), y_c)} + w_{con}\overline{L_{con}}$$

    Renderings $X_G = G(X_S, X_T)$; gradients of the identity and camera losses reach G alone.

    ``batch``: ``source`` and ``target`` uint8 ``[B, h, w, 4]`` with masks, somewhat larger than
    ``size``; ``label`` and ``camera`` integers ``[B]``, positions among identities and cameras.

    Args:
        settings: see ``Settings``.
        nets: from ``modules``.
        judge: C_id, whose variables are the state's net ``Cid``.
        size: (height, width) of the images that the networks see.

    References:
        Chen, Zhu, Gong, ICCV 2019: the four losses (seed 003); weights and order are ours.
    """
    for_generator, for_judge = ADVERSARIAL[settings.adversarial]

    def applied(states, name, *images) -> Any:
        return nets[name].apply({"params": states[name].params}, *images)

    def rendered(states, memo) -> Rendering:
        return applied(states, "G", memo["source"], memo["target"], 1 - memo["target_person"])

    def render(states, batch, memo, key):
        seen = {}
        for name, k in zip(("source", "target"), jax.random.split(key), strict=True):
            cropped = augment.crop_and_flip(k, batch[name], size)
            seen[name], seen[f"{name}_person"] = augment.split_mask(cropped)
        fake = rendered(states, seen).image
        if settings.pool:
            pool, fake = exchange(memo["pool"], jax.random.fold_in(key, 2), fake)
            seen["pool"] = pool
        return seen | {"fake": fake}

    def judges(states, batch, memo, key):
        del key
        both = jnp.concatenate([memo["target"], memo["fake"]])
        # Instance norm treats images one by one, so real and rendered ones may share a call.
        real, fake = jnp.split(applied(states, "D", both), 2)
        terms = {
            "d_domain": for_judge(real, fake).mean(),
            "d_camera": _named(applied(states, "Ccam", memo["target"]), batch["camera"]),
        }
        return sum(terms.values()), Aux(terms)

    def generator(states, batch, memo, key):
        made, person = rendered(states, memo), memo["source_person"]
        frozen = {"params": states["Cid"].params, "batch_stats": states["Cid"].stats}
        identity: Any = judge.apply(frozen, made.image)
        behind = background(settings.mask_mode, person, memo["target_person"])
        images = made.image, memo["source"], memo["target"]
        kept, taken = losses.context(*images, person, behind, norm=settings.norm)
        terms = {
            "g_domain": for_generator(applied(states, "D", made.image)).mean(),
            "g_identity": settings.identity_weight * _named(identity["logits"], batch["label"]),
            "g_camera": settings.camera_weight
            * _named(applied(states, "Ccam", made.image), batch["camera"]),
            "g_person": settings.context_weight * kept.mean(),
            "g_background": settings.context_weight * taken.mean(),
        }
        # Near 1 inside and near 0 outside is healthy; 1 everywhere copies the source.
        shares = {
            "share_inside": (made.weight * person).sum() / (person.sum() + 1e-6),
            "share_outside": (made.weight * (1 - person)).sum() / ((1 - person).sum() + 1e-6),
        }
        return sum(terms.values()), Aux(terms | shares)

    def average(states, batch, memo, key):  # of weights before the turn: one step behind
        del batch, key
        old, share = memo["average"], 1 - settings.ema
        return {"average": optax.incremental_update(states["G"].params, old, share)}

    averaged = [Interlude(average)] if settings.ema else []
    return [Interlude(render), Phase(("D", "Ccam"), judges), *averaged, Phase(("G",), generator)]


def _named(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy with one-hot labels."""
    targets = losses.smooth_labels(labels, logits.shape[-1])
    return losses.cross_entropy(logits, targets).mean()
