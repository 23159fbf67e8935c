"""M2M-GAN, lite: source people as cameras of the target would have taken them, one net each way.

Liang, Wang, Lai, Zhu, "M2M-GAN: Many-to-Many Generative Adversarial Transfer Learning for Person
Re-Identification", 2018, treats the cameras of both data sets as domains: one model maps every
camera of the source to every camera of the target, guided by labels and a camera classifier. Only
its abstract was to be had, so losses and schedule are ours: results are those of a **lite** form,
never M2M-GAN's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreid.stages import crossing, cycle, domains, m2m


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, translators, generated set, arms with and without LMP, report."""
    options, gan = config["m2m"], cycle.Settings(**config["gan"])
    started = crossing.begin(config, workdir)
    domains.require_cameras(started.data)
    m2m.require(gan, started.data)
    translators = m2m.train(
        workdir / "translator", started.data, gan, options["class_weight"], **started.common
    )
    return crossing.finish(started, translators)
