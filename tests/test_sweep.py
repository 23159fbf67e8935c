"""Which lines a sweep's table has, and what its rows run with."""

import json
import runpy
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from jaxreid import sweep

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG = {"seed": 0, "gan": {"rate": 0.1, "width": 8}}


def config_file(tmp_path, sweeps):
    path = tmp_path / "config.py"
    path.write_text(f"SWEEPS = {sweeps!r}\n")
    return f"{path}:tiny"


def test_a_rows_own_values_win_and_the_config_stays():
    config = ConfigDict(CONFIG)
    rows = sweep.configs(config, {"a": {"gan.rate": 1, "seed": 3}, "b": {}})
    assert rows == {"a": {"seed": 3, "gan": {"rate": 1.0, "width": 8}}, "b": CONFIG}
    assert config.to_dict() == CONFIG


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.py")), ids=lambda file: file.stem)
def test_the_sweeps_of_every_config_fit_it(file):
    module = runpy.run_path(str(file))
    for rows in module.get("SWEEPS", {}).values():
        for config in sweep.configs(module["get_config"]("demo"), rows).values():
            assert config["system"] == file.stem


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"gan.wdith": 4}, "row 'b': no config key 'gan.wdith'. Did you mean 'gan.width'"),
        ({"gan": {"rate": 4}}, "row 'b': no config key 'gan'"),
        ({"gan.width": 0.5}, "row 'b': .*'width'.*float"),
    ],
)
def test_a_wrong_override_is_refused_by_row_and_key(changes, words):
    with pytest.raises(ValueError, match=words):
        sweep.configs(ConfigDict(CONFIG), {"a": {}, "b": changes})


def test_trials_of_data_without_trials_are_refused():
    module = runpy.run_path(str(CONFIGS / "ce2l.py"))
    config, rows = module["get_config"]("demo"), module["SWEEPS"]["trial"]
    assert len(sweep.configs(config, rows)) == 10
    config.data.world.layout = "sysu_mm01"
    with pytest.raises(ValueError, match="same experiment on sysu_mm01.* only RegDB has some"):
        sweep.configs(config, rows)
    layouts = sweep.configs(module["get_config"]("paper"), module["SWEEPS"]["layout"])
    assert {each["data"]["name"] for each in layouts.values()} == {"world"}


def test_an_unknown_sweep_is_refused_by_name(tmp_path):
    path = config_file(tmp_path, {"images": {}, "rates": {"a": {"gan.rate": 1}}})
    assert sweep.overrides(path, "rates") == {"a": {"gan.rate": 1}}
    with pytest.raises(ValueError, match="'imags'.*images, rates. Did you mean 'images'"):
        sweep.overrides(path, "imags")
    with pytest.raises(ValueError, match="it has no SWEEPS"):
        sweep.overrides(config_file(tmp_path, {}), "images")


def test_references_stand_once_where_equal_and_own_arms_in_every_row():
    found = {
        "x": {"baseline": {"mAP": 0.5}, "oracle": {"mAP": 0.9}, "own": {"mAP": 0.6}},
        "y": {"baseline": {"mAP": 0.5}, "oracle": {"mAP": 0.8}, "own": {"mAP": 0.6}},
    }
    assert sweep.lines(found) == {
        "baseline": {"mAP": 0.5},
        "oracle (x)": {"mAP": 0.9},
        "oracle (y)": {"mAP": 0.8},
        "own (x)": {"mAP": 0.6},
        "own (y)": {"mAP": 0.6},
    }


def test_the_table_is_left_on_disk(tmp_path, capsys):
    def run_row(config, directory):
        directory.mkdir(exist_ok=True)
        arms = {"baseline": {"mAP": 0.5}, "own": {"mAP": config["gan"]["rate"]}}
        (directory / "results.json").write_text(json.dumps({"arms": arms}))

    rows = sweep.configs(ConfigDict(CONFIG), {"low": {"gan.rate": 0.25}, "high": {"gan.rate": 0.5}})
    sweep.run(tmp_path, rows, run_row, {"seed": 0})
    table = "| arm | mAP |\n|---|---|\n| baseline | 50.0 |\n| own (low) | 25.0 |\n| own (high) |"
    assert (tmp_path / "sweep.md").read_text() == f"{table} 50.0 |\n"
    left = json.loads((tmp_path / "sweep.json").read_text())
    assert left["arms"]["own (low)"] == {"mAP": 0.25} and left["settings"] == {"seed": 0}
    assert (tmp_path / "shared.json").exists() and "own (high)" in capsys.readouterr().out


def test_trials_have_a_mean_and_a_spread(tmp_path, capsys):
    def run_row(config, directory):
        directory.mkdir(exist_ok=True)
        arms = {"own": {"mAP": config["gan"]["rate"], "rank-20": 0.5}}
        arms |= {"other": {"mAP": 1.0}} if directory.name == "1" else {}
        (directory / "results.json").write_text(json.dumps({"arms": arms}))

    rows = {"1": {"gan.rate": 0.25}, "2": {"gan.rate": 0.5}}
    settings = {"sweep": {"trial": rows}}
    sweep.run(tmp_path, sweep.configs(ConfigDict(CONFIG), rows), run_row, settings)
    left = json.loads((tmp_path / "sweep.json").read_text())
    assert left["arms"]["own (mean)"] == {"mAP": 0.375, "rank-20": 0.5}
    assert left["spread"]["own (mean)"]["mAP"] == pytest.approx(0.125 * 2**0.5)
    assert "other (mean)" not in left["arms"]
    assert "| own (mean) | 37.5 ±17.7 |" in (tmp_path / "sweep.md").read_text()


def test_the_spread_over_networks_of_a_row_stands_in_its_line(tmp_path, capsys):
    def run_row(config, directory):
        directory.mkdir(exist_ok=True)
        arms = {"baseline": {"mAP": 0.5}, "own": {"mAP": config["gan"]["rate"]}}
        spread = {arm: {"mAP": scores["mAP"] / 10} for arm, scores in arms.items()}
        (directory / "results.json").write_text(json.dumps({"arms": arms, "spread": spread}))

    rows = {"low": {"gan.rate": 0.25}, "high": {"gan.rate": 0.5}}
    sweep.run(tmp_path, sweep.configs(ConfigDict(CONFIG), rows), run_row, {})
    table = (tmp_path / "sweep.md").read_text().splitlines()[2:]
    assert table == [
        "| baseline | 50.0 ±5.0 |",
        "| own (low) | 25.0 ±2.5 |",
        "| own (high) | 50.0 ±5.0 |",
    ]


def test_what_has_to_be_said_of_an_arm_stands_below_the_table(tmp_path, capsys):
    def run_row(config, directory):
        directory.mkdir(exist_ok=True)
        left = {"arms": {"own": {"mAP": 0.5}}, "notes": {"own": "knows names"}}
        left |= {"distances": {"own": {"fd": 3.0}}} if directory.name == "b" else {}
        (directory / "results.json").write_text(json.dumps(left))

    sweep.run(tmp_path, sweep.configs(ConfigDict(CONFIG), {"a": {}, "b": {}}), run_row, {})
    left = json.loads((tmp_path / "sweep.json").read_text())
    assert left["distances"] == {"own (b)": {"fd": 3.0}} and "quality" not in left
    assert (tmp_path / "sweep.md").read_text().endswith("| own (b) | 50.0 |\n\nown: knows names\n")
    assert "own: knows names" in capsys.readouterr().out
