"""Judges between two sets: what they are taught and kept from, and their scores by hand."""

from dataclasses import replace

import numpy as np
import pytest

from configs import common
from jaxreid.data import Split
from jaxreid.stages import arms, domain_judge, reid
from jaxreid.stages.domains import Domains
from jaxreid.stages.judge import Judges, Seen
from jaxreid.stages.sets import Generated, Sets
from jaxreid.training import Every

EVERY = Every(1, 1, 1)
SETTINGS = reid.Settings(**common.reid("tiny").to_dict())


class Numbered:
    """Pictures whose pixels carry a number each."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __call__(self, numbers):
        shape = (len(numbers), 32, 16, 3)
        return np.broadcast_to(self.values[numbers, None, None, None], shape).astype(np.uint8)


def split(pids, cameras, values, sources=None, mark=""):
    n = len(pids)
    return Split(
        pids=np.asarray(pids),
        cameras=np.asarray(cameras),
        names=tuple(f"{mark}{i}" for i in range(n)),
        styles=np.full(n, -1),
        sources=("",) * n if sources is None else tuple(sources),
        size=(32, 16),
        numbers=np.arange(n),
        pictures=Numbered(values),
    )


def both():
    source = split(np.repeat(np.arange(10), 4), np.tile([0, 0, 1, 2], 10), np.arange(40), mark="s")
    target = split(np.full(30, -1), np.arange(30) % 3, 100 + np.arange(30), mark="t")
    halves = [Sets(each, each, each, None, name) for each, name in ((source, "s"), (target, "t"))]
    return Domains(*halves, None, "both")


def test_judges_know_neither_held_out_people_nor_held_out_images(tmp_path, monkeypatch):
    taught = {}

    def train(directory, lesson, name, settings, *, seed, every):
        taught[name] = lesson
        assert directory == tmp_path and settings.images_per_identity == 0 and seed == 5
        assert settings.jitter == {"person": 0.3, "domain": 0.0}[name]
        return arms.Trained(name, directory, lambda: None, 4, lesson.made_by)

    monkeypatch.setattr(arms, "train", train)
    settings = replace(SETTINGS, images_per_identity=2, jitter=0.1)
    judges = domain_judge.judge(tmp_path, both(), settings, jitter=0.3, seed=5, every=EVERY)
    people, domain = (taught[name].train for name in ("person", "domain"))
    held = judges.judges.held
    assert len(set(held.pids)) == 2 and set(held.pids) | set(people.pids) == set(range(10))
    assert not set(held.names) & set(domain.names) and not set(held.pids) & set(people.pids)
    assert set(domain.pids) == {0, 1} and domain.names[: len(people)] == people.names
    assert [name[0] for name in domain.names] == ["st"[d] for d in domain.pids]
    # Every image of the target is either taught or kept back.
    kept = set(judges.target.names)
    assert kept and not kept & set(domain.names)
    assert kept | {n for n in domain.names if n[0] == "t"} == set(both().target.train.names)
    assert len({lesson.made_by for lesson in taught.values()} | {"both"}) == 3


# Two people, two cameras each: embeddings on a circle.
HELD = split([1, 1, 2, 2], [0, 1, 0, 1], [0, 10, 90, 100], mark="h")
TARGET = split([-1, -1, -1, -1], [0, 0, 1, 1], [200, 210, 220, 30])


@pytest.fixture
def judges():
    """They embed a number as an angle in degrees, and say target from 150 on."""
    shown = []

    def look(images, count):
        numbers = images(np.arange(count))[:, 0, 0, 0].astype(int)
        shown.append(count)
        angle = np.deg2rad(numbers)
        embeddings = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
        return Seen(embeddings, (numbers >= 150).astype(int), numbers[:, None] / 255 * np.ones(3))

    taught = Judges(HELD, look, lambda: look(HELD.images, len(HELD)), "judges")
    found = domain_judge.DomainJudges(taught, TARGET)
    return found, shown


def test_scores_by_hand(judges, tmp_path):
    judges, shown = judges
    # Of person 1 in camera 0, found first; of person 2 in camera 1, behind the other person. The
    # third shows nobody who was held out.
    made = split([1, 2, 7], [0, 1, 0], [15, 5, 160], ["h0", "h3", "other"])
    found = domain_judge.score(judges, made)
    assert found == {"recognised": pytest.approx((1 + 1 / 2) / 2), "target_style": 0.0}
    moved = split([1, 2], [0, 1], [170, 165], ["h0", "h3"])
    assert domain_judge.score(judges, moved)["target_style"] == 1.0
    sets = {"made": Generated(made, "a", "target"), "moved": Generated(moved, "b", "target")}
    sets["nobody"] = Generated(split([7], [0], [0], ["other"]), "c", "target")
    table = domain_judge.quality(tmp_path, judges, sets)
    assert list(table) == ["real", "untranslated", "made", "moved"]
    assert table["made"] == found
    assert table["real"] == {"target_style": 0.75}
    assert table["untranslated"] == {"recognised": 1.0, "target_style": 0.0}
    shown.clear()
    assert domain_judge.quality(tmp_path, judges, sets) == table and not shown


def test_target_identities_are_not_read():
    given = both()
    pids = np.random.default_rng(0).permutation(30)
    other = given._replace(
        target=given.target._replace(train=replace(given.target.train, pids=pids))
    )
    for name in ("person", "domain"):
        first, second = (domain_judge._lessons(d, 0)[0][name].train for d in (given, other))
        np.testing.assert_array_equal(first.pids, second.pids)
        assert first.names == second.names


def test_too_few_people_for_judges_are_refused_before_training():
    domain_judge.require(SETTINGS, both(), seed=0)
    given = both()
    few = given.source.train.take(given.source.train.pids < 2)
    with pytest.raises(ValueError, match=r"20% of the training people.* Or go without judges"):
        domain_judge.require(
            SETTINGS, given._replace(source=given.source._replace(train=few)), seed=0
        )
