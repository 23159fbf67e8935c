"""PUL: its settings and what it refuses; whole runs: test_systems_unlabelled."""

import pytest

from configs import pul as settings_of
from jaxreid.nets.heads import HEADS
from jaxreid.stages import reid
from jaxreid.systems import pul

OPTIONS = settings_of.get_config("tiny").to_dict()["pul"]


def test_the_paper_s_settings_are_those_of_the_code():
    paper = settings_of.get_config("paper").to_dict()
    net, options = reid.Settings(**paper["reid"]), paper["pul"]
    assert (net.head, net.batch, net.epochs, net.weight_decay) == ("direct_dropout", 16, 40, 0.0)
    assert (net.rate, net.head_rate, net.optimiser) == (1e-3, 1e-3, "sgd")
    assert net.decay_every >= net.epochs and HEADS[net.head](5).dropout == 0.5
    assert (paper["data"]["height"], paper["data"]["width"], net.pad) == (224, 224, 45)
    assert options == {
        **{"clusters": 750, "threshold": 0.85, "own_centre": False, "rounds": 25},
        **{"epochs": 20, "rate": 1e-3, "head_rate": 1e-3},
    }
    each = pul.fine_tuning(net, options)
    assert (each.epochs, each.decay_every, each.batch, each.head) == (20, 20, 16, net.head)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clusters": 1}, "pul.clusters is 1: choose 2"),
        ({"rounds": 0}, "pul.rounds is 0"),
        ({"threshold": 1.0}, "pul.threshold is 1.0, which no cosine exceeds"),
        ({"threshold": -1.5}, "pul.threshold is -1.5"),
    ],
)
def test_options_that_make_no_round_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        pul._require(OPTIONS | option)
