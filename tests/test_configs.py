"""Every config loads at every scale, and every key of it has a reader."""

import ast
import importlib.util
import itertools
from dataclasses import fields
from pathlib import Path

import pytest

from configs import common
from jaxreid import sweep
from jaxreid.stages import (
    cycle,
    cycle_turns,
    dcgan,
    domains,
    modal,
    modal_rivals,
    poses,
    posing_turns,
    reid,
    rendering_turns,
    sets,
    star,
    tracklets,
    unity,
)
from jaxreid.systems import ce2l
from jaxreid.training import Every

ROOT = Path(__file__).parents[1]
NAMES = sorted(
    p.stem for p in (ROOT / "configs").glob("*.py") if p.stem not in ("common", "__init__")
)
BLOCKS = {
    "data": sets.Settings,
    "reid": reid.Settings,
    "gan": cycle.Settings,
    "dcgan": dcgan.Settings,
    "stargan": star.Settings,
    "unitygan": unity.Settings,
    "renderer": rendering_turns.Settings,
    "posing": posing_turns.Settings,
    "poses": poses.Settings,
    "tracklets": tracklets.Settings,
    "modal": modal.Settings,
    "rivals": modal.Settings,
    "tone": modal.Settings,
    "contrast": modal_rivals.Contrast,
    "losses": ce2l.Losses,
    "every": Every,
}


BESIDE = {  # other readers of a block
    "gan": ["stages/cycle.py"],
    "reid": ["stages/reid.py"],
    "tracklets": ["stages/tracklets.py"],
    "unitygan": ["stages/unity.py"],
    "renderer": ["stages/rendering.py"],
    "posing": ["stages/posing.py"],
    "modal": ["stages/modal.py", "stages/modal_batches.py"],
    "rivals": ["stages/modal.py", "stages/modal_batches.py"],
    "tone": ["stages/modal.py", "stages/modal_batches.py"],
}


def load(name, scale):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.get_config(scale).to_dict()


@pytest.mark.parametrize("name,scale", list(itertools.product(NAMES, common.SCALES)))
def test_every_scale_loads_into_the_settings_it_is_made_for(name, scale):
    module, config = load(name, scale)
    assert config["system"] == name and (ROOT / "jaxreid" / "systems" / f"{name}.py").exists()
    for block, settings in BLOCKS.items():
        if block in config:
            made = domains.Settings if "source" in config[block] else settings
            made(**config[block])
    for word in ("Command:", "Published", f"configs/{name}.py"):
        assert word in module.__doc__


@pytest.mark.parametrize("name,scale", list(itertools.product(NAMES, common.SCALES)))
def test_no_default_reads_the_withdrawn_set(name, scale):
    block = load(name, scale)[1]["data"]
    read = [block[d]["name"] for d in domains.NAMES] if "source" in block else [block["name"]]
    assert read and "dukemtmc_reid" not in read


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_scale_is_refused_by_name(name):
    with pytest.raises(ValueError, match="no scale 'dmeo'.*demo, tiny, paper"):
        load(name, "dmeo")


def attributes(path):
    """What is read of anything in a file, but for the checks of ``__post_init__``."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__post_init__":
            node.body = [ast.Pass()]
    return {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_setting_is_read_where_its_block_is_used(block):
    settings = BLOCKS[block]
    home = ROOT / "jaxreid" / settings.__module__.removeprefix("jaxreid.").replace(".", "/")
    files = [home.with_suffix(".py"), *(ROOT / "jaxreid" / name for name in BESIDE.get(block, ()))]
    read = set().union(*map(attributes, files))
    assert {field.name for field in fields(settings)} <= read


@pytest.mark.parametrize("name", NAMES)
def test_every_key_outside_the_settings_is_read_by_its_system(name):
    _, config = load(name, "demo")
    files = ["launch.py", "jaxreid/systems/__init__.py", f"jaxreid/systems/{name}.py"]
    files += ["jaxreid/stages/publish.py"]  # where all systems end
    files += ["jaxreid/stages/crossing.py"] if "crossing" in config else []
    text = "".join((ROOT / file).read_text() for file in files)
    for key in config:
        assert f'config["{key}"]' in text, key
    for key in (*config.get(name, {}), *config.get("crossing", {})):
        assert f'options["{key}"]' in text, key


@pytest.mark.parametrize("scale", common.SCALES)
def test_stripes_of_local_max_pooling_fit_the_maps(scale):
    import jax

    block, size = reid.Settings(**common.reid(scale)), common.domains(scale)
    net = reid.build(block, 2).clone(parts=common.crossing(scale).parts)
    images = jax.ShapeDtypeStruct((1, size.height, size.width, 3), "float32")
    shapes = jax.eval_shape(net.init_with_output, jax.random.key(0), images)[0]
    assert shapes["test"].shape[1] == common.crossing(scale).parts * block.width * (
        32 if block.depth == 50 else 8
    )


def test_camstyle_paper_settings_are_the_published_ones():
    _, config = load("camstyle", "paper")
    gan, net = config["gan"], config["reid"]
    assert (gan["width"], gan["blocks"], gan["batch"], gan["pool"]) == (64, 9, 1, 50)
    assert (gan["cycle_weight"], gan["identity_weight"], gan["rate"]) == (10.0, 5.0, 2e-4)
    assert (gan["epochs"], gan["decay_epochs"]) == (30, 20)
    assert (net["depth"], net["head"], net["batch"], net["generated_batch"]) == (
        50,
        "fc1024",
        128,
        46,
    )
    assert (net["rate"], net["head_rate"], net["decay_every"], net["epochs"]) == (0.01, 0.1, 40, 50)
    assert net["weight_decay"] == 5e-4 and config["camstyle"]["epsilon"] == 0.1
    assert (config["data"]["height"], config["data"]["width"]) == (256, 128)


def values(config, keys):
    return tuple(config[key] for key in keys.split())


def test_lsro_paper_settings_are_the_published_ones():
    _, config = load("lsro", "paper")
    sizes = "image_height image_width width depth noise batch epochs rate"
    assert values(config["dcgan"], sizes) == (128, 128, 64, 4, 100, 64, 30, 2e-4)
    net = config["reid"]
    assert values(net, "depth head crop pad") == (50, "direct_lsro", "larger", 16)
    assert values(net, "batch generated_batch epochs decay_every") == (22, 42, 50, 40)
    assert values(net, "rate head_rate weight_decay") == (0.002, 0.02, 1e-4)
    assert values(config["lsro"], "images baseline_batch pseudo_after pseudo_weight") == (
        *(24_000, 64, 20, 0.1),
    )


def test_faketriplet_paper_settings_are_those_of_the_named_code():
    _, config = load("faketriplet", "paper")
    net, star_gan = config["reid"], config["stargan"]
    assert values(net, "depth head crop optimiser") == (50, "direct", "translated", "adam")
    assert values(net, "batch images_per_identity generated_batch") == (32, 4, 32)
    assert values(net, "epochs decay_every rate head_rate") == (42, 14, 3e-4, 3e-4)
    options = "terms margin fake_margin epsilon negatives smooth_on"
    expected = ("cls+tri+fake", 0.3, 0.3, 0.1, "real", "all")
    assert values(config["faketriplet"], options) == expected
    assert values(star_gan, "steps decay_steps batch turns rate") == (220_000, 110_000, 16, 5, 1e-4)
    assert values(star_gan, "class_weight cycle_weight penalty_weight") == (1.0, 10.0, 10.0)


def test_unitystyle_paper_settings_are_those_of_the_specification():
    _, config = load("unitystyle", "paper")
    gan, net = config["unitygan"], config["reid"]
    weights = "gan_weight matching_weight identity_weight cycle_weight ssim_share"
    assert values(gan, weights) == (0.4, 0.2, 0.1, 0.3, 0.7)
    assert values(gan, "width blocks merge norm draw") == (64, 3, "add", "ibn", "all")
    assert values(gan, "beta update_every rate batch") == (0.99, 200, 2e-4, 8)
    assert values(gan, "epochs decay_epochs") == (30, 20)
    assert values(net, "batch generated_batch epochs head") == (64, 64, 50, "fc1024")


def test_crossing_paper_settings_are_those_of_the_specifications():
    _, ptgan = load("ptgan", "paper")
    assert values(ptgan["ptgan"], "person_weight norm judge_rate") == (10.0, "mean_square", 1e-4)
    assert values(ptgan["gan"], "epochs decay_epochs rate identity_weight") == (20, 20, 2e-4, 0.0)
    _, spgan = load("spgan", "paper")
    assert values(spgan["spgan"], "siamese_from contrastive_from weight margin") == (
        *(0.05, 0.1, 2.0, 2.0),
    )
    for config in (ptgan, spgan):  # the IDE of the tables
        assert values(config["crossing"], "size frozen_norms parts") == ((224, 224), True, 7)
        assert values(config["reid"], "head batch epochs") == ("direct_caffe", 16, 50)
    _, crgan = load("crgan", "paper")  # IDE+
    assert values(crgan["crossing"], "frozen_norms mirror parts") == (True, True, 8)
    net = "head crop batch epochs rate head_rate"
    assert values(crgan["reid"], net) == ("fc512", "enlarged", 16, 60, 1e-3, 1e-2)


def test_pngan_paper_settings_are_those_of_the_released_code():
    _, config = load("pngan", "paper")
    sizes = "width blocks halvings judge_width patch_layers"
    assert values(config["posing"], sizes) == (64, 9, 2, 64, 3)
    training = "batch rate epochs decay_epochs l1_weight pairs_per_epoch"
    assert values(config["posing"], training) == (32, 2e-4, 10, 10, 10.0, 0)
    forms = "adversarial real pose_input"
    assert values(config["posing"], forms) == ("lsgan", "source", "drawing")
    assert values(config["poses"], "poses pose starts") == (8, "medoid", 10)
    assert values(config["pngan"], "fusion fuse_renorm save_norm") == ("max", False, "affine")
    assert values(config["reid"], "depth head batch generated_batch") == (
        *(50, "fc1024_hidden", 128, 128),
    )


def test_ce2l_paper_settings_are_those_of_the_specification():
    module, config = load("ce2l", "paper")
    net, terms = config["modal"], config["losses"]
    assert values(net, "net width hidden embedding dropout") == ("alexnet", 96, 4096, 1024, 0.5)
    assert values(net, "batch steps kept rate fall weight_decay") == (64, 5000, 2500, 1e-3, 0, 0.0)
    assert values(net, "size decay fc6_bn_eval form") == ((227, 227), 0.999, "running", "paired")
    assert values(terms, "identity lsr cross intra") == (1.0, 1.0, 1.0, 0.1)
    assert values(terms, "cross_margin intra_margin epsilon") == (0.5, 0.1, 0.1)
    assert values(config["gan"], "width blocks batch identity_weight") == (64, 9, 1, 5.0)
    assert values(config["gan"], "epochs decay_epochs") == (30, 20)
    assert values(config["data"], "name height width") == ("regdb", 256, 256)
    tone = values(config["tone"], "fc6 embedding batch strangers steps kept rate")
    assert tone == ("relu", 2048, 64, 32, 1501, 900, 1e-3)
    assert config["contrast"] == {"weight": 0.2, "margin": 0.5}
    wu = values(config["rivals"], "width embedding size batch steps rate fall dropout weight_decay")
    assert wu == (16, 256, (224, 224), 32, 5000, 0.01, 3333, 0.5, 0.0)
    layouts = [
        sets.Settings(**config["data"] | {"trial": row["data.trial"]}).layout
        for row in module.SWEEPS["trial"].values()
    ]
    assert layouts == [f"regdb_{trial}" for trial in range(1, 11)]


def test_ce2ls_demo_runs_in_the_form_of_either_set():
    module, _ = load("ce2l", "demo")
    rows = sweep.configs(module.get_config("demo"), module.SWEEPS["layout"])
    layouts = {name: sets.Settings(**row["data"]).layout for name, row in rows.items()}
    assert layouts == {"regdb": "regdb_1", "sysu_mm01": "sysu_mm01"}
    for row in rows.values():
        row["data"]["world"].pop("layout")
    assert rows["regdb"] == rows["sysu_mm01"]  # nothing else differs


def test_taudl_paper_settings_are_those_of_the_released_scripts():
    _, config = load("taudl", "paper")
    given, net = config["tracklets"], config["reid"]
    assert values(given, "embedding tracklets images epochs") == (2048, 96, 4, 200)
    assert values(given, "rate weight_decay constant_epochs fall_epochs") == (3.5e-4, 5e-4, 100, 50)
    assert values(given, "association sigma reduction") == (0.7, 2.0, "mean")
    assert values(given, "neighbours include_self per_camera_norm") == (0, False, False)
    assert values(net, "depth stem last_stride") == (50, "imagenet", 2)
    assert config["taudl"] == {"start": "none"}


@pytest.mark.parametrize(("name", "total"), [("table2", 64), ("world", None)])
def test_a_row_of_lsros_table_has_generated_images_in_proportion(name, total):
    module, config = load("lsro", "paper" if total else "demo")
    real = 12_936 if total else 1_440
    for row in module.SWEEPS[name].values():
        ours, theirs = row["reid.batch"], row["reid.generated_batch"]
        share = row["lsro.images"] / (real + row["lsro.images"])
        assert theirs / (ours + theirs) == pytest.approx(share, abs=0.01)
        assert ours + theirs == total or ours == config["reid"]["batch"] == 64
    assert len(module.SWEEPS[name]) == (15 if total else 9)


def test_the_translators_rate_falls_as_in_the_published_code():
    _, config = load("camstyle", "paper")
    rate, same = cycle_turns.camstyle_rates(cycle.Settings(**config["gan"]), 10)
    assert rate is same
    factors = [float(rate(epoch * 10 + 9)) / 2e-4 for epoch in range(50)]
    expected = {0: 1.0, 28: 1.0, 29: 0.952381, 40: 0.428571, 48: 0.047619, 49: 0.0}
    for epoch, factor in expected.items():
        assert factors[epoch] == pytest.approx(factor, abs=1e-5)
    assert sum(factors) == pytest.approx(39, abs=1e-3)


def test_reid_rates_fall_as_published():
    import jax.numpy as jnp
    import numpy as np

    _, config = load("camstyle", "paper")
    settings = reid.Settings(**config["reid"] | {"weight_decay": 0.0, "epochs": 50})
    tx = reid.optimiser(settings, steps_per_epoch=1)
    params = {"backbone": {"w": jnp.zeros(())}, "head": {"w": jnp.zeros(())}}
    state, steps = tx.init(params), []
    for _ in range(50):
        updates, state = tx.update(
            {"backbone": {"w": jnp.ones(())}, "head": {"w": jnp.ones(())}}, state, params
        )
        steps.append([-float(updates[part]["w"]) for part in ("backbone", "head")])
    # Nesterov momentum on a constant gradient of 1 tends to a step of 10 x rate.
    np.testing.assert_allclose(steps[39], [0.1, 1.0], rtol=0.02)
    np.testing.assert_allclose(steps[49], [0.01, 0.1], rtol=0.02)
