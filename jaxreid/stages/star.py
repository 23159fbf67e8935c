"""StarGAN: one translator between all cameras, which a label tells where to translate to."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreid import losses
from jaxreid.data import Split, augment, prefetch, shuffled
from jaxreid.nets.stargan import Discriminator, Generator
from jaxreid.report import figures
from jaxreid.stages import choose
from jaxreid.stages.sets import Sets, Translate, Translators, require_batch
from jaxreid.training import (
    Aux,
    Every,
    Phase,
    State,
    alternate,
    cached,
    create,
    divided,
    fit,
    in_dtype,
    initialiser,
    remembered,
    run_once,
)
from jaxreid.training.workdir import fingerprint

DECAYS = ("linear", "legacy")


@dataclass(frozen=True)
class Settings:
    """One StarGAN and its training.

    Attributes:
        width: channels of the generator's first layer (64 in the paper).
        blocks: residual blocks of the generator (6).
        halvings: stride-2 layers of the generator (2).
        judge_width: channels of the discriminator's first layer (64).
        judge_layers: stride-2 layers of the discriminator (6).
        batch: images per step, of all cameras (16).
        margin: images are loaded this much larger than they are cropped to (288/256 - 1 in HHL).
        class_weight: weight of the class losses (1).
        cycle_weight: weight of the cycle loss (10).
        penalty_weight: weight of the gradient penalty (10).
        turns: turns of the discriminator per turn of the generator (5).
        rate: Adam's learning rate, of both networks; betas 0.5 and 0.999.
        decay: how the rate falls: ``linear`` to 0, or ``legacy`` as in the released codes, see
            ``schedule``.
        steps: of the whole training; one batch and one turn of the discriminator each (220,000).
        decay_steps: the last of them, in which the rate falls (110,000).
        candidates: checkpoints, evenly spaced over the second half of the training, that can be
            chosen among; 1 takes the last (published).
    """

    width: int
    blocks: int
    halvings: int
    judge_width: int
    judge_layers: int
    batch: int
    margin: float
    class_weight: float
    cycle_weight: float
    penalty_weight: float
    turns: int
    rate: float
    decay: str
    steps: int
    decay_steps: int
    candidates: int

    def __post_init__(self):
        """Refuses a schedule that cannot be followed."""
        if self.decay not in DECAYS:
            raise ValueError(f"stargan.decay is {self.decay!r}; choose one of {', '.join(DECAYS)}")
        if self.turns < 1:
            raise ValueError(f"stargan.turns is {self.turns}; the discriminator needs at least 1")
        if not 0 <= self.decay_steps <= self.steps or self.steps < 1:
            raise ValueError(
                f"stargan.decay_steps is {self.decay_steps} and stargan.steps is {self.steps}: the "
                "rate falls in the last decay_steps of them, so choose 0 to stargan.steps"
            )
        choose.candidates(self.steps, self.candidates)


def require(settings: Settings, data: Sets) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Raises:
        ValueError: one camera only, fewer images than a batch, a batch that the devices cannot
            split, images that the networks do not take.
    """
    domains = len(np.unique(data.train.cameras))
    if domains < 2:
        raise ValueError(
            "all training images carry one camera number, so there is no other camera's style to "
            "learn; look at the _cN part of the file names"
        )
    require_batch("stargan.batch", settings.batch, len(data.train))
    try:
        jax.eval_shape(program(settings, data.train.size, domains)[0], jax.random.key(0))
    except ValueError as error:
        raise ValueError(
            f"the images do not fit the StarGAN. {error} The settings are data.height, data.width, "
            "stargan.halvings and stargan.judge_layers."
        ) from error


def phases(settings: Settings, size: tuple[int, int], domains: int) -> list[Phase]:
    r"""StarGAN's two turns: the discriminator in every step, the generator in every fifth.

    $$L_D = \overline{s(G(x, c'))} - \overline{s(x)} + w_{class}\,\ell(x, c) + w_{penalty}\,P$$
    $$L_G = -\overline{s(G(x, c'))} + w_{class}\,\ell(G(x, c'), c')
          + w_{cycle}\,\overline{|x - G(G(x, c'), c)|}$$

    s are D's scores, meant over batch and patches; l the cross-entropy of its class head, P the
    gradient penalty. The targets c' are the batch's own labels c in random order, so they follow
    its histogram of cameras and may equal the source. Both turns take the same images and c'.

    ``batch``: ``image`` uint8 ``[B, h, w, 3]``, somewhat larger than ``size``, and ``domain``
    integers ``[B]`` in ``[0, domains)``.

    References:
        Choi et al., CVPR 2018, eq. 1 to 8, with the means and weights of its code; Zhong et al.,
        ECCV 2018 (HHL), for cameras as domains.
    """
    generator, judge = _networks(settings, domains)

    def translate(nets, images, domain) -> Any:
        return generator.apply(
            {"params": nets["G"].params}, images, jax.nn.one_hot(domain, domains)
        )

    def judged(nets, images) -> Any:
        return judge.apply({"params": nets["D"].params}, images)

    def discriminator_turn(nets, batch, memo, key):
        k_image, k_target, k_penalty = jax.random.split(key, 3)
        real = augment.crop_and_flip(k_image, batch["image"], size)
        target = jax.random.permutation(k_target, batch["domain"])
        fake = translate(nets, real, target)
        # Without norms D treats images one by one, so real and fake ones may share a call.
        scores, logits = judged(nets, jnp.concatenate([real, fake]))
        penalty = losses.gradient_penalty(lambda x: judged(nets, x)[0], real, fake, k_penalty)
        classes = losses.domain_classification(logits[: len(real)], batch["domain"])
        terms = {
            "d_critic": losses.wasserstein_critic(*jnp.split(scores, 2)).mean(),
            "d_class": settings.class_weight * classes.mean(),
            "d_penalty": settings.penalty_weight * penalty.mean(),
        }
        return sum(terms.values()), Aux(terms, {"real": real, "target": target})

    def generator_turn(nets, batch, memo, key):
        real, target = memo["real"], memo["target"]
        fake = translate(nets, real, target)
        back = translate(nets, fake, batch["domain"])
        scores, logits = judged(nets, fake)
        classes = losses.domain_classification(logits, target)
        terms = {
            "g_critic": losses.wasserstein_generator(scores).mean(),
            "g_class": settings.class_weight * classes.mean(),
            "g_cycle": settings.cycle_weight * losses.cycle(real, back).mean(),
        }
        return sum(terms.values()), Aux(terms)

    # G turns after D's turns 1, 6, 11, ...; in the released code after 5, 10, 15, ... Between two
    # turns of G there are as many of D, and D's last ones do not touch G any more: only G's very
    # first turn, one of thousands, meets a D of another age.
    return [Phase(("D",), discriminator_turn), Phase(("G",), generator_turn, settings.turns)]


def schedule(settings: Settings) -> Callable[[Any], jax.Array]:
    r"""The rate in a step of the training, counted from 0.

    The rate is constant before the last T = ``decay_steps`` steps. Of them, t are done and the rate
    has been lowered $n = \lfloor t / h \rfloor$ times: ``linear`` has the factor $1 - n h / T$,
    meant to reach 0. ``legacy`` has $1 - n / T$: the released codes lower the rate by the decrement
    of one step, but in every h-th step only, so that it ends at 9.99e-5 instead of 0.

    There h is 1,000 steps. Here it is at most a tenth of T, so that shorter trainings decay, too.
    """
    hold = max(1, min(1000, settings.decay_steps // 10))
    lowered = hold if settings.decay == "linear" else 1

    def rate(step):
        late = jnp.maximum(0, step - (settings.steps - settings.decay_steps)) // hold
        return settings.rate * (1.0 - late * lowered / max(1, settings.decay_steps))

    return rate


def optimisers(settings: Settings) -> dict[str, optax.GradientTransformation]:
    """Adam for both networks. An optimiser counts its own turns, the schedule counts steps."""
    rate = schedule(settings)
    rates = {"G": lambda turn: rate(turn * settings.turns), "D": rate}
    return {name: optax.adam(rates[name], b1=0.5, b2=0.999) for name in rates}


def train(
    directory: Path,
    data: Sets,
    settings: Settings,
    *,
    seed: int,
    every: Every,
    chooser: choose.Chooser | None = None,
    own: bool = False,
) -> Translators:
    """Trains one StarGAN on all training images, with their cameras as domains.

    Args:
        directory: for checkpoints, metrics and sample grids.
        data: its training images are used, without their identities.
        settings: see ``Settings``.
        seed: of initialisation, batches and augmentation.
        every: how often to log, save and sample.
        chooser: picks among ``settings.candidates`` checkpoints; None takes the last.
        own: whether to render images in the style of their own camera, too, as HHL does.

    Returns:
        Translators for every ordered pair of different cameras, with ``own`` also of equal ones.
    """
    keep = choose.candidates(settings.steps, settings.candidates)
    training = partial(_train, directory, data.train, settings, seed, every, keep)
    made_by = {"stargan": asdict(settings), "seed": seed, "data": data.made_by}
    made_by |= {"size": data.train.size}
    trained = run_once(directory, made_by, partial(training, settings.steps), trains=True)

    def after(step: int) -> Translators:
        # Called again, a finished training only reads the checkpoint of this step.
        state = remembered(partial(training, step))
        between = _translators(state, _cameras(data.train), settings, own)
        return Translators(between, fingerprint({"trained": trained, "step": step}))

    return choose.best(directory / "choice", {step: partial(after, step) for step in keep}, chooser)


def _train(directory: Path, real: Split, settings, seed, every, keep, steps) -> State:
    cameras = _cameras(real)
    init, step = program(settings, real.size, len(cameras))
    loaded = real.resized(augment.larger(real.size, settings.margin))
    domain = np.searchsorted(cameras, real.cameras).astype(np.int32)
    plan = shuffled(len(real), settings.batch, seed)

    def batch(index: int) -> dict[str, np.ndarray]:
        rows = plan(index)
        return {"image": loaded.images(rows), "domain": domain[rows]}

    return fit(
        lambda: init(jax.random.key(seed)),
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=steps,
        directory=directory,
        every=every,
        keep=keep,
        sample=lambda state, step: _sample(directory, state, step, real, settings),
    )


@cached
def program(settings: Settings, size: tuple[int, int], domains: int):
    """``init(key)`` and ``step(state, batch)``, made once."""
    generator, judge = _networks(settings, domains)
    tx = optimisers(settings)

    def init(key: jax.Array) -> State:
        k_g, k_d = jax.random.split(key)
        images, labels = jnp.zeros((1, *size, 3)), jnp.zeros((1, domains))
        nets = {"G": generator.init(k_g, images, labels), "D": judge.init(k_d, images)}
        return create(jax.random.fold_in(key, 0), nets, tx)

    return initialiser(init), alternate(phases(settings, size, domains), tx)


def _translators(
    state: Callable[[], State], cameras: Sequence[int], settings: Settings, own: bool = False
) -> dict[tuple[int, int], Translate]:
    generator, _ = _networks(settings, len(cameras))

    def translator(target: int) -> Translate:
        label = jax.nn.one_hot(cameras.index(target), len(cameras))

        def translate(split: Split, rows: np.ndarray) -> np.ndarray:
            params = state().nets["G"].params
            return np.asarray(render(generator, params, divided(split.images(rows)), label))

        return translate

    return {(a, b): translator(b) for a in cameras for b in cameras if own or a != b}


@partial(jax.jit, static_argnums=0)
def render(generator: Generator, params, images: jax.Array, label: jax.Array) -> jax.Array:
    """uint8 images translated to what ``label`` says: ``[K]`` for all of them, or ``[B, K]``."""
    labels = jnp.broadcast_to(label, (len(images), label.shape[-1]))
    translated: Any = generator.apply({"params": params}, augment.to_float(images), labels)
    return augment.to_uint8(translated)


def _networks(settings: Settings, domains: int) -> tuple[Generator, Discriminator]:
    generator = Generator(settings.width, settings.blocks, settings.halvings)
    judge = Discriminator(domains, settings.judge_width, settings.judge_layers)
    return in_dtype(generator), in_dtype(judge)


def _cameras(split: Split) -> list[int]:
    """Cameras by domain: their numbers may have gaps, domains have none."""
    return np.unique(split.cameras).tolist()


def _sample(directory: Path, state: State, step: int, split: Split, settings: Settings) -> None:
    cameras = _cameras(split)
    rows = {c: np.flatnonzero(split.cameras == c)[:2] for c in cameras}
    between = _translators(lambda: state, cameras, settings)
    real = {c: split.images(rows[c]) for c in cameras}
    fake = {(a, b): translate(split, rows[a]) for (a, b), translate in between.items()}
    figures.write_sample(directory, step, figures.translation_grid(real, fake, scale=2))
