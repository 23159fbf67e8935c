"""The choice among checkpoints: which one, decided once, and what the loop keeps for it."""

import json

import numpy as np
import pytest

from configs import camstyle
from jaxreid.data.pictures import Pictures, encode_png
from jaxreid.data.splits import Split
from jaxreid.stages import cycle
from jaxreid.stages.choose import Chooser, best, candidates
from jaxreid.stages.sets import Sets, Translators
from jaxreid.training import Every, WorkdirError


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [
        (100, 1, [100]),
        (100, 2, [75, 100]),
        (100, 5, [60, 70, 80, 90, 100]),
        (7, 3, [5, 6, 7]),
        (1, 1, [1]),
    ],
)
def test_candidates_are_spread_over_the_second_half(steps, count, expected):
    assert candidates(steps, count) == expected


@pytest.mark.parametrize(("steps", "count"), [(7, 4), (100, 0), (1, 2)])
def test_more_candidates_than_steps_are_refused(steps, count):
    with pytest.raises(ValueError, match=f"candidates is {count}: choose 1 .* or up to"):
        candidates(steps, count)


class Found(dict):
    """Candidates that know their scores and count how often they are scored."""

    def __init__(self, scores):
        super().__init__({step: lambda s=step: Translators({}, f"at {s}") for step in scores})
        self.scores, self.asked = scores, []

    def chooser(self, made_by="judges"):
        def score(translators):
            self.asked.append(translators.made_by)
            return self.scores[int(translators.made_by.split()[1])]

        return Chooser(score, made_by)


def test_the_highest_score_wins_and_of_equal_ones_the_latest(tmp_path, capsys):
    found = Found({60: 0.1, 70: 0.6, 80: 0.6, 90: 0.3, 100: 0.5})
    assert best(tmp_path, found, found.chooser()).made_by == "at 80"
    choice = json.loads((tmp_path / "choice.json").read_text())
    assert choice == {"step": 80, "scores": {str(s): value for s, value in found.scores.items()}}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5 and [line for line in said if "chosen" in line] == [said[2]]
    assert "80" in said[2] and "0.6000" in said[2]


def test_a_choice_is_made_once(tmp_path):
    found = Found({1: 0.9, 2: 0.2})
    assert best(tmp_path, found, found.chooser()).made_by == "at 1"
    found.scores, found.asked = {1: 0.0, 2: 1.0}, []
    assert best(tmp_path, found, found.chooser()).made_by == "at 1" and not found.asked
    with pytest.raises(WorkdirError, match="judged_by: judges there, others now"):
        best(tmp_path, found, found.chooser("others"))


def test_interrupted_before_it_was_written_it_is_made_again(tmp_path):
    found = Found({1: 0.9, 2: 0.2})

    def fails(translators):
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        best(tmp_path, found, Chooser(fails, "judges"))
    assert best(tmp_path, found, found.chooser()).made_by == "at 1"
    assert found.asked == ["at 1", "at 2"]


def test_without_a_choice_the_last_is_taken_and_nothing_is_scored(tmp_path):
    several, single = Found({1: 0.9, 2: 0.2}), Found({2: 0.2})
    assert best(tmp_path / "a", several, None).made_by == "at 2"
    assert best(tmp_path / "a", single, single.chooser()).made_by == "at 2"
    assert not single.asked and not (tmp_path / "a").exists()


@pytest.fixture
def data():
    """Sixteen noisy images, half of them in each of two cameras."""
    images = np.random.default_rng(0).integers(0, 256, (16, 36, 20, 3)).astype(np.uint8)
    files = [encode_png(image) for image in images]
    real = Split(
        pids=np.arange(16) // 4,
        cameras=np.arange(16) % 2,
        names=tuple(f"{i}.png" for i in range(16)),
        styles=np.full(16, -1),
        sources=("",) * 16,
        size=(32, 16),
        numbers=np.arange(16),
        pictures=Pictures(lambda numbers: [files[n] for n in numbers], 16, (32, 16), 1 << 20),
    )
    return Sets(real, real, real, None, "noise")


def test_translators_of_the_chosen_step_are_those_that_were_scored(data, tmp_path, quick_compiler):
    gan = camstyle.get_config("tiny").gan.to_dict()
    # The published rate is 0 in the last epoch, of two steps here: what is chosen lies before it.
    settings = cycle.Settings(**gan | {"epochs": 3, "rate": 0.01, "candidates": 4})
    rows, seen = np.arange(4) * 2, {}

    def first(translators):
        seen[translators.made_by] = translators.between[0, 1](data.train, rows)
        return -float(len(seen))

    def train(chooser):
        every = Every(log=9, save=9, sample=9)
        common = {"seed": 0, "every": every, "chooser": chooser}
        return cycle.train(tmp_path, data, [(0, 1)], settings, **common)

    chosen, again = (train(Chooser(first, "first")) for _ in range(2))
    last = train(None)
    assert len(seen) == 4 and {chosen.made_by, last.made_by} < set(seen)
    assert again.made_by == chosen.made_by != last.made_by
    for translators in (chosen, again, last):
        images = translators.between[0, 1](data.train, rows)
        assert np.array_equal(images, seen[translators.made_by])
    assert not np.array_equal(seen[chosen.made_by], seen[last.made_by])


def test_more_candidates_than_the_training_has_are_refused_before_it(data):
    gan = camstyle.get_config("tiny").gan.to_dict()
    cycle.require(cycle.Settings(**gan | {"candidates": 2}), data, [(0, 1)], chosen=True)
    with pytest.raises(ValueError, match=r"gan\.candidates is 3: choose 1 .* or up to 2"):
        cycle.require(cycle.Settings(**gan | {"candidates": 3}), data, [(0, 1)], chosen=True)
    with pytest.raises(ValueError, match="candidates is 2, but nothing here chooses"):
        cycle.require(cycle.Settings(**gan | {"candidates": 2}), data, [(0, 1)])
