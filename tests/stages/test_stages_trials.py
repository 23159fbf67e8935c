"""RegDB's trials in a run: a network meets the people of its own trial alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import common
from jaxreid.evaluation import REGDB, Embedded
from jaxreid.stages import arms, domains, embedding, reid, reid_seeds, sets
from jaxreid.training import Every, WorkdirError

NETWORK = reid.Settings(**common.reid("tiny").to_dict())
HALVES = {1: ((1, 2), (3, 4)), 2: ((1, 3), (2, 4))}


@pytest.fixture(scope="module")
def regdb(tmp_path_factory):
    """Four people, one picture per modality, two trials."""
    root = tmp_path_factory.mktemp("sets") / "RegDB"
    (root / "idx").mkdir(parents=True)
    for modality in ("Visible", "Thermal"):
        for pid in range(1, 5):
            path = named(root, modality, pid)
            path.parent.mkdir(parents=True)
            Image.new("RGB", (4, 8), (40 * pid,) * 3).save(path)
        for trial, halves in HALVES.items():
            for part, people in zip(("train", "test"), halves, strict=True):
                files = [named(root, modality, pid).relative_to(root) for pid in people]
                text = "".join(f"{file} {label}\n" for label, file in enumerate(files))
                (root / "idx" / f"{part}_{modality.lower()}_{trial}.txt").write_text(text)
    return root


def named(root: Path, modality: str, pid: int) -> Path:
    return root / modality / str(pid) / f"male_back_{modality[0].lower()}_{pid:05d}_{pid}.bmp"


def settings(root, trial):
    return sets.Settings(f"regdb_{trial}", str(root), 8, 4, {})


@pytest.fixture
def knowing(monkeypatch):
    """Networks that know everybody and take no training."""
    model = embedding.Model(reid.build(NETWORK, 2), {})
    monkeypatch.setattr(reid_seeds, "train", lambda *_, **__: [model])

    def embed(_, split, __):
        return Embedded(np.eye(5)[split.pids], split.pids, split.cameras)

    monkeypatch.setattr(embedding, "embed", embed)


def test_a_network_is_scored_on_its_own_trial_only(regdb, tmp_path, knowing):
    both = {k: sets.prepare(tmp_path / str(k), settings(regdb, k)) for k in (1, 2)}
    networks = {
        k: arms.train(tmp_path / str(k), data, "baseline", NETWORK, seed=0, every=Every(1, 1, 1))
        for k, data in both.items()
    }
    for k, data in both.items():
        scores = arms.score(networks[k], data, protocol=REGDB).scores
        assert scores.rank(1) == 1 and scores.queries == 2
    with pytest.raises(ValueError, match=r"regdb_1 cannot be tested on regdb_2: 1 people .*\(2\)"):
        arms.score(networks[1], both[2], protocol=REGDB)


def test_a_trial_is_no_target_of_another(regdb, tmp_path):
    blocks = ({"name": f"regdb_{k}", "root": str(regdb), "world": {}} for k in (1, 2))
    with pytest.raises(ValueError, match="regdb_1 cannot be tested on regdb_2"):
        domains.prepare(tmp_path, domains.Settings(8, 4, *blocks), seed=0)


def test_a_run_of_one_trial_is_not_continued_with_another(regdb, tmp_path):
    sets.prepare(tmp_path, settings(regdb, 1))
    with pytest.raises(WorkdirError, match="layout: regdb_1 there, regdb_2 now"):
        sets.prepare(tmp_path, settings(regdb, 2))
