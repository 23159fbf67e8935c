import json
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.report import results

ARMS = {
    "baseline": {"rank-1": 0.50, "mAP": 0.30, "mINP": 0.1},
    "camstyle": {"rank-1": 0.55, "mAP": 0.25},
    "oracle": {"rank-1": 0.70, "mAP": 0.40, "mINP": 0.2},
}


def test_results_are_canonical_json(tmp_path):
    value = {
        "b": np.float32(0.5),
        "a": {"array": np.arange(3), "device": jnp.float32(2), "flag": np.bool_(True)},
        "c": (1, None, "é"),
    }
    results.write_results(tmp_path / "results.json", value)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "a": {"array": [0, 1, 2], "device": 2.0, "flag": True},
        "b": 0.5,
        "c": [1, None, "é"],
    }
    assert text.index('"a"') < text.index('"b"') and text.endswith("}\n")
    results.write_results(tmp_path / "again.json", dict(reversed(value.items())))
    assert (tmp_path / "again.json").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "value, message",
    [
        (
            {"arms": {"camstyle": {"mAP": float("nan")}}},
            r"\['arms'\]\['camstyle'\]\['mAP'\] is nan",
        ),
        ({"curve": [0.0, np.inf]}, r"\['curve'\]\[1\] is inf"),
        ({"curve": np.array([np.nan])}, r"\['curve'\]\[0\] is nan"),
        ({"pairs": {(0, 1): 2}}, r"\['pairs'\] has the key \(0, 1\)"),
        ({"set": {1}}, r"\['set'\] is a set"),
    ],
)
def test_what_is_not_json_is_named_and_leaves_the_old_file(tmp_path, value, message):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        results.write_results(path, value)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_gap_closed_is_exact_and_may_be_negative():
    closed = results.gap_closed(ARMS)
    assert closed == {"camstyle": {"rank-1": pytest.approx(0.25), "mAP": pytest.approx(-0.5)}}


@pytest.mark.parametrize("missing", ["baseline", "oracle"])
def test_no_gap_without_both_ends(missing):
    assert results.gap_closed({k: v for k, v in ARMS.items() if k != missing}) == {}


@pytest.mark.parametrize("rank1", [0.4, 0.5, 0.59])
def test_no_gap_where_the_oracle_is_not_clearly_above_the_baseline(rank1):
    arms = {**ARMS, "oracle": {"rank-1": rank1, "mAP": 0.4}}
    assert results.gap_closed(arms) == {"camstyle": {"mAP": pytest.approx(-0.5)}}


def test_best_leaves_the_oracle_aside():
    assert results.best(ARMS) == {"baseline": {"rank-1": 0.55, "mAP": 0.30, "mINP": 0.1}}
    assert results.best({"baseline": ARMS["baseline"], "oracle": ARMS["oracle"]}) == {}


def test_table_is_aligned_and_in_percent():
    assert results.table(ARMS) == "\n".join(
        [
            "arm       rank-1   mAP  mINP",
            "baseline    50.0  30.0  10.0",
            "camstyle    55.0  25.0     –",
            "oracle      70.0  40.0  20.0",
            "gap closed by camstyle: 25.0 % of rank-1, -50.0 % of mAP",
        ]
    )


def test_table_shows_spread_where_known_and_ignores_other_keys():
    arms = {"a": {"rank-1": 0.5, "cmc": [0.5], "trials": 1}}
    assert results.table(arms, {"a": {"rank-1": 0.0123}}).split("\n") == [
        "arm     rank-1",
        "a    50.0 ±1.2",
    ]


def test_quality_table_shows_what_is_known():
    quality = {"real": {"source_camera": 0.9}, "unity": {"recognised": 0.25, "source_camera": 0.4}}
    assert results.quality_table(quality).split("\n") == [
        "images  recognised, mAP  source camera still named",
        "real                  –                       90.0",
        "unity              25.0                       40.0",
    ]


@pytest.mark.parametrize("value", [float("nan"), -0.1, 51.2])
def test_scores_must_be_fractions(value):
    with pytest.raises(ValueError, match="'camstyle': mAP is"):
        results.table({"camstyle": {"mAP": value}})


def test_environment_names_versions_and_device_but_no_person_or_machine():
    found = results.environment()
    assert found["jax"] == jax.__version__ and found["numpy"] == np.__version__
    assert found["devices"] == jax.device_count()
    assert found["device"] == jax.devices()[0].device_kind
    assert platform.node() not in found.values()
    assert not any("/" in str(value) for value in found.values())


def test_distances_have_four_digits_and_a_dash_where_unknown():
    found = {"source": {"fd/a": 12.3456, "lpips/b": 0.5}, "floor": {"fd/a": 0.0123456}}
    assert results.distance_table(found) == "\n".join(
        ["images     fd/a  lpips/b", "source    12.35      0.5", "floor   0.01235        –"]
    )


def test_a_row_of_a_sweep_is_measured_by_its_own_ends_where_it_has_some():
    arms = ["baseline", "pngan (1)", "pngan (8)", "oracle (1)", "oracle (8)", "jitter"]
    assert results.ends("pngan (1)", arms) == ("baseline", "oracle (1)")
    assert results.ends("oracle (8)", arms) == ("baseline", "oracle (8)")
    assert results.ends("jitter", arms) == ("baseline", "oracle")
    assert results.ends("pngan (1)", ["baseline", "oracle"]) == ("baseline", "oracle")


def test_a_view_is_measured_by_its_own_ends():
    views = {f"{arm}_lmp": {k: 1.25 * v for k, v in scores.items()} for arm, scores in ARMS.items()}
    arms = views | ARMS
    closed = results.gap_closed(arms | {"cut_and_paste": ARMS["baseline"]})
    assert closed["camstyle_lmp"] == pytest.approx(closed["camstyle"])
    assert closed["cut_and_paste"] == {"rank-1": 0.0, "mAP": 0.0}
    assert closed.keys() == {"camstyle", "camstyle_lmp", "cut_and_paste"}
    assert results.ends("camstyle_lmp (row)", arms) == ("baseline_lmp", "oracle_lmp")
    assert results.ends("unitystyle_real", arms) == ("baseline", "oracle")
    rows = [f"{arm} ({row})" for arm in arms for row in ("ide", "strong")]
    assert results.ends("camstyle (ide)", rows) == ("baseline (ide)", "oracle (ide)")
    low, high = "baseline_lmp (ide)", "oracle_lmp (ide)"
    assert results.ends("camstyle_lmp (ide)", rows) == (low, high)
    assert results.ends(low, rows) == results.ends(high, rows) == (low, high)
    found = results.best(arms)  # of those that compete in a view
    assert found["baseline"]["rank-1"] == pytest.approx(0.55)
    assert found["baseline_lmp"]["rank-1"] == pytest.approx(1.25 * 0.55)
    kept = arms | {f"{arm}_step_2_lmp": scores for arm, scores in ARMS.items()}
    low, high = "baseline_step_2_lmp", "oracle_step_2_lmp"
    assert results.ends("camstyle_step_2_lmp", kept) == (low, high)  # not baseline_lmp
    assert results.gap_closed(kept)["camstyle_step_2_lmp"] == pytest.approx(closed["camstyle"])


def test_chance_is_told_once_or_for_every_view():
    low, high = ({"rank-1": 0.0312, "mAP": x} for x in (0.0415, 0.0651))
    arms = {name: {"chance": low} for name in ("baseline", "baseline_indoor", "camstyle")}
    assert results.by_chance(arms) == ["by chance: rank-1 3.1, mAP 4.2"]
    arms |= {"camstyle_indoor": {"chance": high}, "baseline_indoor": {"chance": high}}
    assert results.by_chance(arms) == [
        "by chance, tested as baseline is: rank-1 3.1, mAP 4.2",
        "by chance, tested as baseline_indoor is: rank-1 3.1, mAP 6.5",
    ]
    assert results.by_chance({"baseline": {"rank-1": 0.5}}) == []
    shown = results.table({"baseline": {"rank-1": 0.5, "chance": low}})
    assert shown.splitlines()[-1] == "by chance: rank-1 3.1, mAP 4.2"
