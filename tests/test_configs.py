"""Every config loads at every scale, and every key of it has a reader."""

import ast
import importlib.util
import itertools
from dataclasses import fields
from pathlib import Path

import pytest

from configs import common
from jaxreid.stages import cycle, dcgan, reid, sets, star, unity
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
    "every": Every,
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
            settings(**config[block])
    for word in ("Command:", "Published", f"configs/{name}.py"):
        assert word in module.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_scale_is_refused_by_name(name):
    with pytest.raises(ValueError, match="no scale 'dmeo'.*demo, tiny, paper"):
        load(name, "dmeo")


def attributes(path):
    return {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}


@pytest.mark.parametrize("settings", BLOCKS.values())
def test_every_setting_is_read_by_the_code(settings):
    read = set().union(*(attributes(p) for p in (ROOT / "jaxreid").rglob("*.py")))
    assert {field.name for field in fields(settings)} <= read


@pytest.mark.parametrize("name", NAMES)
def test_every_key_outside_the_settings_is_read_by_its_system(name):
    _, config = load(name, "demo")
    text = (ROOT / "jaxreid" / "systems" / f"{name}.py").read_text() + (
        ROOT / "launch.py"
    ).read_text()
    for key in config:
        assert f'config["{key}"]' in text, key
    for key in config.get(name, {}):
        assert f'options["{key}"]' in text, key


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


def test_the_translators_rate_falls_as_in_the_published_code():
    _, config = load("camstyle", "paper")
    rate = cycle.schedule(cycle.Settings(**config["gan"]), steps_per_epoch=10)
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
