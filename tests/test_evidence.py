"""The evidence: what is stored of a run, and that the page in the tree says what was stored."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import evidence
from benchmarks.cells import verdict
from benchmarks.compare import compare
from benchmarks.evidence_page import page
from configs import common
from jaxreid.evaluation.statistics import Interval

ROOT = Path(__file__).parents[1]
ARMS = {arm: {"rank-1": 0.5, "mAP": 0.4} for arm in ("baseline", "camstyle")}


def test_the_page_in_the_tree_is_what_the_stored_runs_give():
    stored = any((ROOT / "evidence").glob("*/seed_*.json"))
    written = ROOT / "EVIDENCE.md"
    found = written.read_text() if written.exists() else "absent"
    assert found == (page(ROOT / "evidence") if stored else "absent"), "say make evidence-table"


@pytest.mark.parametrize("file", ["README.md", "docs/results.md"])
def test_intervals_in_texts_stand_in_the_evidence(file):
    interval = re.compile(r"[+-][\d.]+ \[[+-][^]]*\](?: %)?")
    quoted = interval.findall((ROOT / file).read_text())
    assert quoted and set(quoted) <= set(interval.findall((ROOT / "EVIDENCE.md").read_text()))


def store(folder, seed, arms, notes=None, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    target = f"--config.data.target.world.seed={500 + seed}"
    run = {
        "command": f"python launch.py --config.seed={seed} {target} --workdir=runs/x/seed_{seed}",
        "code": ["0123456789ab", "fedcba987654 with local changes"][: 1 + seed],
        "device": "cpu",
        "jax": "0.10",
        "settings": {"seed": seed, "data": {"world": {"seed": seed}}, "gan": {"rate": 0.1}}
        | settings,
        "arms": {arm: {"rank-1": score, "mAP": score} for arm, score in arms.items()},
    } | ({"notes": notes} if notes else {})
    (folder / f"seed_{seed}.json").write_text(json.dumps(run))


def test_the_page_by_hand(tmp_path):
    gains = ((0.1, 0.5), (0.2, 0.5), (0.3, 0.5))
    for seed, (own, oracle) in enumerate(gains):
        base = 0.1 * seed
        arms = {"own": base + own, "baseline": base, "oracle": base + oracle}
        store(tmp_path / "x", seed, arms)
    text = page(tmp_path)
    table = text[text.index("## x") :]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    # Half width of the difference: 4.30265 * 10 / sqrt(3) = 24.84; of the gap's part: over 0.5.
    gain, part = "+20.0 [-4.8, +44.8]", "+40 [-10, +90] %"
    assert rows == [
        "| baseline | 3 | 10.0 (10.0) | 10.0 (10.0) |  |  |  |  |",
        f"| own | 3 | 30.0 (20.0) | 30.0 (20.0) | {gain} | {part} | {gain} | not shown |",
        "| oracle | 3 | 60.0 (10.0) | 60.0 (10.0) | +50.0 [+50.0, +50.0] |  "
        "| +50.0 [+50.0, +50.0] | shown |",
    ]
    target = "--config.data.target.world.seed=$((500+SEED))"
    command = f"`python launch.py --config.seed=SEED {target} --workdir=runs/x/seed_SEED`"
    assert f"{command} for SEED in 0, 1, 2; " in text
    assert "commit 0123456789ab, fedcba987654 with local changes; cpu, JAX 0.10." in text


def test_claims_stand_first_with_what_was_measured_of_them(tmp_path):
    for seed, (gain, seconds) in enumerate(((0.1, 60), (0.2, 120), (0.6, 1200))):
        arms = {"camstyle": 0.1 + gain, "baseline": 0.1, "jitter": 0.9}
        store(tmp_path / "camstyle", seed, arms)
        path = tmp_path / "camstyle" / f"seed_{seed}.json"
        costs = {"seconds": seconds} | ({"peak_mib": 700} if seed else {})
        path.write_text(json.dumps(json.loads(path.read_text()) | costs))
    store(tmp_path / "ptgan", 0, {"ptgan": 0.2, "baseline": 0.1})
    for seed, own in enumerate((0.2, 0.3)):
        store(tmp_path / "pngan", seed, {"pngan": own, "baseline": 0.0, "two_nets": 0.3})
    text = page(tmp_path)
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    rows = {cells[0].removeprefix("| "): cells[2:] for cells in lines[:10]}
    assert len(rows) == 10 and text.index("| CE2L |") < text.index("## camstyle")
    # Half width: 4.30265 * 26.4575 / sqrt(3).
    assert rows["CamStyle"] == ["3", "+30.0 [-35.7, +95.7]", "not shown", "2", "700 |"]
    assert rows["PTGAN"] == ["1", "", "not measured", "", " |"]
    assert rows["PN-GAN"][1].startswith("-5.0 [")  # beside two networks, not beside one
    assert rows["CE2L"] == ["0", "", "not measured", "", " |"]


def test_what_judges_said_stands_in_a_table_of_its_own(tmp_path):
    for seed, style in enumerate((0.5, 0.7)):
        store(tmp_path / "x", seed, {"own": 0.2, "baseline": 0.1})
        path = tmp_path / "x" / f"seed_{seed}.json"
        quality = {"real": {"style": 1.0}, "own": {"identity": 0.4, "style": style}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"quality": quality}))
    assert "| images | style | identity |" in page(tmp_path)
    assert "| own | 60.0 (14.1) | 40.0 (0.0) |" in page(tmp_path)


def test_distances_of_sets_stand_in_a_third(tmp_path):
    for seed, apart in enumerate((0.05, 0.07)):
        store(tmp_path / "x", seed, {"own": 0.2, "baseline": 0.1})
        path = tmp_path / "x" / f"seed_{seed}.json"
        found = {"floor": {"fd/net": 0.01}, "own": {"fd/net": apart, "lpips/oracle": 0.3}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"distances": found}))
    assert "| images | fd/net |" in page(tmp_path)
    assert "| own | 0.06 (0.014) |" in page(tmp_path)


def test_cross_domain_systems_stand_in_one_table(tmp_path):
    sides = {"data": {"target": {}}}
    for seed, score in enumerate((0.2, 0.4)):
        arms = {"baseline": 0.1, "own_lmp": score, "ptgan": score, "ptgan_lmp": score / 2}
        store(tmp_path / "ptgan", seed, arms, **sides)
    arms, sweep = {"baseline": 0.5, "ptgan (back)": 0.6, "ptgan_lmp (back)": 0.7}, {"back": {}}
    store(tmp_path / "ptgan_back", 0, arms, **sides, sweep={"back": sweep})
    store(tmp_path / "camstyle", 0, {"baseline": 0.9})
    path = tmp_path / "ptgan_back" / "seed_0.json"
    found = {"ptgan (back)": {"fd/net": 7.0, "lpips/source_generated": 0.25}, "x": {"kd/net": 1.0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"distances": found}))
    path = tmp_path / "ptgan" / "seed_1.json"
    found = {"ptgan": {"fd/net": 5.0}, "source": {"lpips/source_target": 0.5, "fd/net": 9.0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"distances": found}))
    text = page(tmp_path)
    assert "| none | baseline | 10.0 (0.0) | 10.0 (0.0) |  | 50.0 | 50.0 |  | 2, 1 |" in text
    expected = "30.0 (14.1) | 30.0 (14.1) | 15.0 (7.1) | 60.0 | 60.0 | 70.0 | 2, 1 |"
    assert f"| image | ptgan | {expected}" in text
    assert "| images | there lpips | there fd/net | back lpips | back fd/net |" in text
    assert "| source | 0.5 | 9 |  |  |" in text and "| ptgan |  | 5 | 0.25 | 7 |" in text


def test_what_has_to_be_said_of_an_arm_stands_below_the_table(tmp_path):
    store(tmp_path / "x", 0, {"own": 0.2, "baseline": 0.1}, notes={"own": "knows names"})
    assert "20.0 |  |  |  |  |\n\n`own`: knows names.\n\n`python" in page(tmp_path)


def test_chance_stands_below_the_table_as_far_as_runs_say_it(tmp_path):
    store(tmp_path / "x", 2, {"own": 0.2, "baseline": 0.1})  # an older run
    assert "by chance" not in page(tmp_path)
    for seed, score in enumerate((0.1, 0.2)):
        store(tmp_path / "x", seed, {"own": 0.2, "baseline": 0.1})
        path = tmp_path / "x" / f"seed_{seed}.json"
        found = json.loads(path.read_text())
        for arm in found["arms"].values():
            arm["chance"] = {"rank-1": 0.01, "mAP": score}
        path.write_text(json.dumps(found))
    assert "\n\nIn percent by chance: rank-1 1.0, mAP 15.0.\n\n`python" in page(tmp_path)


def test_one_seed_has_no_interval_and_other_settings_are_refused(tmp_path):
    store(tmp_path / "x", 0, {"own": 0.2, "baseline": 0.1})
    assert "| own | 1 | 20.0 | 20.0 |  |  |  |  |" in page(tmp_path)
    store(tmp_path / "x", 1, {"own": 0.2, "baseline": 0.1}, gan={"rate": 0.2})
    with pytest.raises(ValueError, match="differ in gan.rate, not only"):
        page(tmp_path)


def test_a_difference_of_nothing_has_no_sign_of_its_own(tmp_path):
    for seed, gain in enumerate((1e-9, -2e-9)):
        store(tmp_path / "x", seed, {"own": 0.5 + gain, "baseline": 0.5})
    assert "| +0.0 [+0.0, +0.0] |" in page(tmp_path)


def test_any_two_arms_are_compared_by_world(tmp_path):
    for seed, own in enumerate((0.2, 0.3, 0.4)):
        with pytest.raises(ValueError, match=f"x has {seed} runs" if seed < 2 else "no arm 'on'"):
            compare(tmp_path / "x", "own", "on")
        store(tmp_path / "x", seed, {"own": own, "other": 0.1 + 0.1 * (seed == 2)})
    # Differences of 10, 20 and 20 points: 16.7 +- 4.30265 * 5.7735 / sqrt(3).
    assert compare(tmp_path / "x", "own", "other") == [
        f"{key}: own less other +16.7 [+2.3, +31.0], shown, ahead in 3 of 3 worlds"
        for key in ("mAP", "rank-1")
    ]


def test_verdicts():
    assert verdict(Interval(0.2, 0.1, 0.3)) == "shown"
    assert verdict(Interval(-0.2, -0.3, -0.1)) == "opposite"
    assert verdict(Interval(0.2, -0.1, 0.5)) == verdict(Interval(0.0, 0.0, 0.0)) == "not shown"


def test_runs_stored_before_a_key_was_there_are_of_its_default():
    now = common.training("demo")
    old = {"seed": now["seed"], "every": now["every"]}
    assert evidence.settings_of({"settings": old}) == now


@pytest.fixture
def launches(monkeypatch):
    """Stands in for ``launch.py``: leaves results and a stage taken from another run."""
    seen = []

    def launch(command):
        flags = dict(f.removeprefix("--").split("=") for f in command[2:])
        workdir, seed = Path(flags["workdir"]), int(flags["config.seed"])
        (workdir / "world").symlink_to("../../other/seed_0/world")
        options = SimpleNamespace(system="camstyle", scale="tiny", sweep="", override=[])
        results = {
            "arms": ARMS,
            "settings": evidence.settings(options, seed),
            "environment": {"device": "cpu", "jax": "0.10", "numpy": "2"},
            "quality": {"camstyle": {"style": 0.5}},
            "distances": {"floor": {"fd/x": 2.0}},
            "notes": {"camstyle": "said"},
            "camera_pairs": {},
        }
        (workdir / "results.json").write_text(json.dumps(results))
        seen.append(command[1:])
        return SimpleNamespace(returncode=0)

    git = {"rev-parse": "abc", "status": " M launch.py"}
    monkeypatch.setattr(evidence, "_git", lambda word, *_: git[word])
    monkeypatch.setattr(evidence.subprocess, "run", launch)
    return seen


def test_a_run_is_stored_once_with_its_origin(tmp_path, monkeypatch, launches):
    arguments = ["evidence", "--scale=tiny", "--seeds=2", f"--store={tmp_path / 'kept'}"]
    monkeypatch.setattr("sys.argv", [*arguments, f"--workdir={tmp_path / 'runs'}"])
    for run in ("other/seed_0", "camstyle/seed_2"):  # an older commit left them, one unfinished
        (tmp_path / "runs" / run).mkdir(parents=True)
    (tmp_path / "runs/other/seed_0/code.txt").write_text("older\n")
    (tmp_path / "runs/camstyle/seed_2/code.txt").write_text("old\n")
    evidence.main()
    evidence.main()  # finds both
    assert [c[:5] for c in launches] == [
        [
            "launch.py",
            "--config=configs/camstyle.py:tiny",
            f"--config.seed={seed}",
            f"--config.data.world.seed={seed}",
            "--config.camstyle.judge=True",
        ]
        for seed in (1, 2)
    ]
    first, stored = (
        json.loads((tmp_path / f"kept/camstyle/seed_{seed}.json").read_text()) for seed in (1, 2)
    )
    assert first["seconds"] >= 0 and first["peak_mib"] >= 0
    assert first["code"] == ["abc with local changes", "older"]
    assert stored.pop("date").count("-") == 2
    assert stored.pop("command").startswith("python launch.py --config=configs/camstyle.py:tiny ")
    assert stored.pop("settings")["seed"] == 2
    assert stored == {
        "arms": ARMS,
        "quality": {"camstyle": {"style": 0.5}},
        "distances": {"floor": {"fd/x": 2.0}},
        "notes": {"camstyle": "said"},
        "code": ["abc with local changes", "old", "older"],
        "device": "cpu",
        "jax": "0.10",
        "shared": {"world": "other/seed_0/world"},
    }
    assert (tmp_path / "EVIDENCE.md").read_text() == page(tmp_path / "kept")
    assert (tmp_path / "runs/shared.json").exists()


@pytest.mark.parametrize("system", ["ptgan", "camstyle", "ide"])
def test_judges_are_asked_wherever_a_system_knows_them(system):
    def options(sweep):
        return SimpleNamespace(system=system, scale="demo", sweep=sweep, override=[])

    block = {"ptgan": "crossing", "camstyle": "camstyle", "ide": None}[system]
    judged = {f"{block}.judge": True} if block else {}
    found = evidence.overrides(options(""), 3)
    assert {key: value for key, value in found.items() if "judge" in key} == judged
    assert evidence.overrides(options("person"), 3).get("crossing.lpips") is None
    asked = SimpleNamespace(**vars(options("person")) | {"override": ["crossing.lpips=alexnet"]})
    assert evidence.overrides(asked, 3)["crossing.lpips"] == "alexnet"
    asked.override = ["crossing.judge=False"]
    assert evidence.overrides(asked, 3)["crossing.judge"] is False
    assert not any("judge" in key for key in evidence.overrides(options("person"), 3))


def test_a_stored_run_of_other_settings_is_run_again(tmp_path, monkeypatch, launches):
    store(tmp_path / "kept/camstyle", 1, {"baseline": 0.9})
    arguments = ["evidence", "--scale=tiny", "--seeds=1", f"--store={tmp_path / 'kept'}"]
    monkeypatch.setattr("sys.argv", [*arguments, f"--workdir={tmp_path / 'runs'}"])
    evidence.main()
    assert len(launches) == 1
    stored = json.loads((tmp_path / "kept/camstyle/seed_1.json").read_text())
    assert stored["arms"]["baseline"]["mAP"] == 0.4


def test_the_table_alone_needs_stored_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["evidence", "--table", f"--store={tmp_path / 'kept'}"])
    with pytest.raises(SystemExit, match="no runs are stored"):
        evidence.main()
