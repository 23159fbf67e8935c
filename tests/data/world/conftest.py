"""Two small cities: a labelled one in Market-1501's layout, another in DukeMTMC-reID's."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jaxreid.data import world


class Cities(NamedTuple):
    """Folders of the two worlds, drawn once for all tests."""

    market: Path
    duke: Path


SMALL: dict[str, Any] = {
    "train_identities": 4,
    "test_identities": 3,
    "cameras": 3,
    "height": 48,
    "width": 24,
}
MARKET = world.Spec(seed=7, images_per_camera=2.5, distractors=4, junk=3, **SMALL)
DUKE = world.Spec(seed=8, distractors=5, city=1, layout="dukemtmc_reid", **SMALL)


@pytest.fixture(scope="session")
def cities(tmp_path_factory) -> Cities:
    """Writes both worlds."""
    found = Cities(*(tmp_path_factory.mktemp("cities") / name for name in ("market", "duke")))
    world.write(MARKET, found.market)
    world.write(DUKE, found.duke, masks=True, keypoints=True)
    return found
