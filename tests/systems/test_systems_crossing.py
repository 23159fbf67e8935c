"""PTGAN and SPGAN: their terms by hand, who trains in which turn, and whole tiny runs."""

import importlib.util
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from configs import common
from jaxreid import data
from jaxreid.evaluation.frechet import frechet_distance, moments
from jaxreid.stages import cycle, distances, domains, quality, sets
from jaxreid.stages.cycle import Seen
from jaxreid.systems import ptgan, spgan

pytestmark = pytest.mark.usefixtures("quick_compiler")
SYSTEMS = ("ptgan", "spgan")
OPTIONS = {"ptgan": ["--config.crossing.judge=True"], "spgan": []}
SIZE = (16, 16)
GAN = cycle.Settings(**common.cyclegan("tiny").to_dict() | {"batch": 2})
SPGAN = {"weight": 2.0, "margin": 2.0, "pairs": "pytorch", "width": 4, "blocks": 2}


def config(name):
    path = tiny.ROOT / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config("tiny").to_dict()


def seen(a, fake_b, b, fake_a, mask_a=None, mask_b=None):
    nothing = jnp.zeros((*np.shape(a)[:3], 0))
    return Seen(a, b, fake_a, fake_b, *(nothing if m is None else m for m in (mask_a, mask_b)))


def test_ptgan_holds_persons_alone_and_by_the_code_s_mean():
    a, b = jnp.zeros((2, 4, 4, 3)), jnp.ones((2, 4, 4, 3))
    half = jnp.zeros((2, 4, 4, 1)).at[:, :2].set(1.0)
    terms = partial(ptgan.masked_terms, {}, step=0, key=None, weight=10.0, norm="mean_square")
    moved = seen(a, a + 0.5, b, b, half, half)
    assert float(terms(moved)["g_person"]) == pytest.approx(1.25)  # only a's half of the elements
    gradient = jax.grad(lambda x: terms(moved._replace(fake_b=x))["g_person"])(moved.fake_b)
    assert jnp.all(gradient[:, 2:] == 0) and jnp.all(gradient[:, :2] > 0)
    other = seen(a, a, b, b - 0.5, half, 1 - half)
    assert float(terms(other)["g_person"]) == pytest.approx(1.25)


def test_ptgan_s_rates_are_the_paper_s():
    settings = replace(GAN, rate=2e-4, epochs=20, decay_epochs=20)
    generators, judges = ptgan.rates(settings, 10, judge_rate=1e-4)
    for epoch, share in {0: 1, 19: 1, 20: 1, 30: 0.5, 39: 0.05}.items():
        assert float(generators(10 * epoch + 9)) == pytest.approx(2e-4 * share)
        assert float(judges(10 * epoch)) == pytest.approx(1e-4 * share)


def test_spgan_s_rate_stays_without_decay_and_falls_with_it():
    constant, _ = spgan.rates(replace(GAN, rate=2e-4, epochs=20, decay_epochs=0), 10)
    assert float(constant(0)) == float(constant(199)) == pytest.approx(2e-4)
    falling, _ = spgan.rates(replace(GAN, rate=2e-4, epochs=2, decay_epochs=2), 10)
    assert [float(falling(step)) for step in (0, 20, 30, 39)] == pytest.approx(
        [2e-4, 2e-4, 1e-4, 1e-5]
    )


@pytest.fixture
def embedded(monkeypatch):
    """SPGAN's terms where M gives each image the embedding that is painted on it."""

    def apply(self, variables, images, rngs):
        return images[:, 0, 0, :2]

    monkeypatch.setattr(spgan.SiaNet, "apply", apply)

    def image(x, y):
        return jnp.zeros((1, 1, 1, 3)).at[0, 0, 0, :2].set(jnp.array([x, y]))

    # x, G(x), y, F(y) of the specification's golden case
    return image(1.0, 0.0), image(0.8, 0.6), image(0.0, 1.0), image(0.6, 0.8)


def test_spgan_s_contrastive_terms_are_the_golden_ones_and_begin_late(embedded):
    made = spgan.method(SPGAN | {"siamese_from": 0.05, "contrastive_from": 0.1}, steps=100)
    nets = {"M": type("Net", (), {"params": {}})}
    x, mapped_x, y, mapped_y = embedded
    given = seen(x, mapped_x, y, mapped_y)
    early, late = (made.terms(nets, given, step, jax.random.key(0)) for step in (9, 10))
    assert float(early["g_contrastive"]) == 0.0
    assert float(late["g_contrastive"]) == pytest.approx(2 * 0.5055728090, abs=1e-6)
    memo = {"a": x, "fake_b": mapped_x, "b": y, "fake_a": mapped_y}
    (turn,) = made.turns
    assert turn.trains == ("M",)
    values = [turn.loss(nets, {}, memo | {"step": s}, jax.random.key(0))[0] for s in (4, 5)]
    assert float(values[0]) == 0.0
    assert float(values[1]) == pytest.approx(0.4954305003, abs=1e-6)


def test_generators_feel_m_and_m_turns_alone():
    """A step from the start: with the term the generators move otherwise, M only by its turn.

    M begins late with a step of its rate, as Adam does that has counted nothing before: moments
    that had counted steps without it made that step ten times as large.
    """
    rng = np.random.default_rng(0)
    batch = {side: rng.integers(256, size=(1, 2, 18, 18, 3)).astype(np.uint8) for side in "ab"}
    moved, before = {}, None
    for weight, siamese_from in ((2.0, 0.0), (0.0, 0.1)):
        options = SPGAN | {"weight": weight, "siamese_from": siamese_from, "contrastive_from": 0.0}
        init, step = cycle.program(GAN, SIZE, 5, spgan.method(options, steps=10))
        before = init(jax.random.key(0)[None])
        step = step.map(jax.jit)
        moved[weight], metrics = step(before, batch)
        assert {"g_contrastive", "m_contrastive"} <= metrics.keys()

    def differ(a, b):
        return jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.any(x != y)), a, b))

    for name in "GF":
        assert any(differ(moved[0.0].nets[name].params, moved[2.0].nets[name].params))
    assert not any(differ(before.nets["M"].params, moved[0.0].nets["M"].params))
    assert any(differ(before.nets["M"].params, moved[2.0].nets["M"].params))
    late = step(moved[0.0], batch)[0].nets["M"].params
    pairs = zip(*map(jax.tree.leaves, (late, before.nets["M"].params)), strict=True)
    largest = max(float(jnp.abs(x - y).max()) for x, y in pairs)
    assert largest == pytest.approx(GAN.rate, rel=1e-3)


@pytest.fixture(scope="module", params=SYSTEMS)
def finished(request, place):
    workdir = place(request.param)
    return request.param, workdir, tiny.launch(request.param, workdir, *OPTIONS[request.param])


def test_a_system_goes_from_two_cities_to_report(finished):
    name, workdir, done = finished
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((workdir / "results.json").read_text())
    arms = [
        f"{arm}{view}"
        for arm in ("baseline", "cut_and_paste", "jitter", name, "oracle")
        for view in ("", "_lmp")
    ]
    assert sorted(results["arms"]) == sorted(arms)
    sets_of_images = {"source", "floor", name, "cut_and_paste", "oracle"}
    assert results["distances"].keys() == sets_of_images
    measures = ("fd", "kd", "precision", "recall")
    keys = {f"{m}/reid_baseline_test" for m in (*measures, "d")} | {"colour/spread"}
    keys |= {"N/images", "N/compared_with"}
    assert results["distances"]["oracle"].keys() == keys
    rows = {"real", "untranslated", name, "cut_and_paste", "oracle"} if OPTIONS[name] else set()
    assert results.get("quality", {}).keys() == rows
    for row in rows - {"real"}:
        assert results["quality"][row].keys() == {"recognised", "target_style"}
    assert "in the target&#x27;s style" in (workdir / "report.html").read_text()
    assert list((workdir / "translator").glob("*/samples/*.png"))
    source = data.load(workdir / "source" / "records" / "tfds", (32, 16))["train"]
    for made in ("generated", "pasted", "truth"):
        fakes = data.load(workdir / made / "records", (32, 16))["train"]
        assert fakes.sources == source.names and set(fakes.styles.tolist()) == {sets.TARGET}
        np.testing.assert_array_equal(fakes.pids, source.pids)


def test_distances_are_between_the_sets_that_they_name(finished, tmp_path, monkeypatch):
    _, workdir, _ = finished
    trains = [data.load(workdir / d / "records" / "tfds", (32, 16))["train"] for d in domains.NAMES]
    source, target = (sets.Sets(train, train, train, None, d) for d, train in enumerate(trains))
    both = domains.Domains(source, target, None, "both")
    fakes = data.load(workdir / "truth" / "records", (32, 16))["train"]
    made = {"oracle": sets.Generated(fakes, "oracle", "target")}
    options = {"features": "random_conv", "trunk": "", "seed": 0}
    baseline = SimpleNamespace(made_by="baseline")
    found = distances.measure(tmp_path / "distances", both, made, baseline, **options)
    net = quality.feature_net("random_conv")

    def apart(these, those):
        these, those = (
            np.asarray(net.features(s.images(np.arange(len(s))).astype(np.float32) / 127.5 - 1))
            for s in (these, those)
        )
        return frechet_distance(moments(these), moments(those))

    half = len(trains[1]) // 2
    counts = {name: (x["N/images"], x["N/compared_with"]) for name, x in found.items()}
    assert counts["source"] == (len(trains[0]), len(trains[1]))
    assert sorted(counts["floor"]) == [half, len(trains[1]) - half]
    assert {x["d/random_conv"] for x in found.values()} == {net.dim}
    key = "fd/random_conv"
    assert found["source"][key] == pytest.approx(apart(trains[0], trains[1]), rel=1e-4)
    assert found["oracle"][key] == pytest.approx(apart(fakes, trains[1]), rel=1e-4)
    assert found["oracle"][key] < found["source"][key]
    assert found.keys() == {"source", "oracle", "floor"}
    spreads = [
        split.images(np.arange(len(split))).astype(float).mean((1, 2)).std(0)
        for split in (fakes, trains[1])
    ]
    expected = np.sqrt((spreads[0] ** 2).sum() / (spreads[1] ** 2).sum())
    assert found["oracle"]["colour/spread"] == pytest.approx(expected, rel=1e-9)
    for share in ("precision/random_conv", "recall/random_conv"):
        assert all(0 <= values[share] <= 1 for values in found.values())
    assert found["oracle"]["recall/random_conv"] > 0

    # A generator whose k-th output is brighter by k: two of ten differ by 11/3 on average.
    def brighter(rows, k):
        return np.full((len(rows), 32, 16, 3), 100 + k, np.uint8)

    monkeypatch.setattr(quality, "lpips", lambda trunk: lambda x, y: abs(x - y).mean((1, 2, 3)))
    options |= {"trunk": "alexnet", "outputs": {"oracle": brighter}}
    found = distances.measure(tmp_path / "spread", both, made, baseline, **options)
    assert found["oracle"]["lpips/generated_spread"] == pytest.approx(11 / 3 / 127.5, rel=1e-4)
    assert "lpips/generated_spread" not in found["source"]


def test_official_folders_with_masks_are_read_as_the_worlds_are(finished, tmp_path):
    _, workdir, _ = finished
    layouts = dict(zip(domains.NAMES, ("market1501", "dukemtmc_reid"), strict=True))
    blocks = {
        name: {"name": layout, "root": str(workdir / name / "world" / "pictures"), "world": {}}
        for name, layout in layouts.items()
    }
    masked = {name: block | {"masks": "root"} for name, block in blocks.items()}
    both = domains.prepare(tmp_path / "masked", domains.Settings(32, 16, **masked), seed=0)
    domains.require_masks(both)
    assert both.truth is None and set(both.target.train.pids.tolist()) == {-1}
    drawn = data.load(workdir / "source" / "records" / "tfds", (32, 16))["train"]
    rows = np.arange(len(drawn))
    np.testing.assert_array_equal(both.source.train.images(rows), drawn.images(rows))
    np.testing.assert_array_equal(both.source.train.masks(rows), drawn.masks(rows))
    bare = domains.prepare(tmp_path / "bare", domains.Settings(32, 16, **blocks), seed=0)
    with pytest.raises(ValueError, match="source training pictures have no foreground masks"):
        domains.require_masks(bare)
    equal = {name: block | {"masks": "centre_ellipse"} for name, block in blocks.items()}
    made_up = domains.prepare(tmp_path / "bare", domains.Settings(32, 16, **equal), seed=0)
    domains.require_masks(made_up)
    assert made_up.source.train.masks(rows[:2]).mean() / 255 == pytest.approx(np.pi / 4, abs=0.02)
    assert made_up.made_by not in (bare.made_by, both.made_by)
    with pytest.raises(ValueError, match="data.source and data.target are the same set"):
        same = domains.Settings(32, 16, blocks["source"], blocks["source"])
        domains.prepare(tmp_path / "same", same, seed=0)


def test_a_finished_run_is_not_done_again(finished):
    tiny.check_idle(*finished[:2], *OPTIONS[finished[0]])


def test_target_identities_are_read_by_nothing_that_is_trained(tmp_path, monkeypatch):
    """A run whose target training labels are shuffled ends with the same bytes."""
    given = config("spgan")
    given["reid"]["jitter"] = given["crossing"]["jitter"]
    arms = spgan.run(given, tmp_path / "honest")["arms"]
    assert "jitter" not in arms  # direct transfer jitters like it

    tiny.shuffle_target(monkeypatch)
    spgan.run(given, tmp_path / "shuffled")
    first, second = (tmp_path / name / "results.json" for name in ("honest", "shuffled"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("data.source.name=market1501", "data.source.root is empty"),
        ("crossing.parts=3", "Local pooling into 3 stripes"),
        ("gan.batch=400", "gan.batch is 400"),
        ("reid.batch=700", "reid.batch is 700"),
        ("crossing.features=nothing", "no feature network 'nothing'"),
        ("crossing.lpips=nothing", "LPIPS has no trunk 'nothing'"),
        ("data.source.world.train_identities=2", "20% of the training people are held out"),
        ("data.source.masks=elsewhere", "the world takes root, ones, centre_ellipse or nothing"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_training(tmp_path, option, message):
    done = tiny.launch("ptgan", tmp_path, f"--config.{option}", *OPTIONS["ptgan"])
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert "steps/s" not in done.stdout
