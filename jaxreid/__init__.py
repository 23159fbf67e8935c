"""jaxreid: GAN-based person re-identification in purely functional JAX/Flax.

The house, from the front door inwards (arrows of import run downwards only)::

    launch.py      the one entry point: flags, config, then systems.<config.system>.run
    systems/       the methods, one file each: read these first
    stages/        what systems compose: train translators, translate a set, train re-ID, embed
    losses/        pure functions of arrays; the public import
    nets/          Flax Linen modules: layers, generators, discriminators, backbones, heads
    data/          data-set layouts, the synthetic world, sampling, on-device augmentation
    training/      state, step builder, the one loop, checkpoints, mesh, metric writer
    evaluation/    ranking protocols: pure functions
    report/        figures and the HTML report of a run

``import jaxreid`` and ``import jaxreid.losses`` are light: no TFDS, no Pillow.
"""

__version__ = "0.1.0"
