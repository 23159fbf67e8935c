"""Training steps lowered for a TPU by the systems' own code, without training anything."""

import json
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from benchmarks import lowering
from benchmarks.lowering_page import page
from benchmarks.rehearsal import traced_for_tpu, trainings
from jaxreid.nets import convolution
from jaxreid.training import Aux, Phase, Step, alternate, create, make_mesh
from jaxreid.training.loop import jitted

IMAGES, SIDE, WIDTH, CLASSES = 4, 8, 16, 5


def tiny_step() -> tuple[Step, dict, dict]:
    """A 3x3 convolution without padding and a classifier, by one step of SGD."""

    def loss(nets, batch, memo, key):
        params = nets["net"].params
        maps = convolution.plain_conv(batch["image"], params["conv"])
        logits = maps.mean((1, 2)) @ params["dense"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        return value, Aux({"loss": value})

    params = {"conv": jnp.zeros((3, 3, 3, WIDTH)), "dense": jnp.zeros((WIDTH, CLASSES))}
    batch = {"image": jnp.zeros((IMAGES, SIDE, SIDE, 3)), "label": jnp.zeros(IMAGES, jnp.int32)}
    tx = {"net": optax.sgd(0.1)}
    state = create(jax.random.key(0), {"net": {"params": params}}, tx)
    return alternate([Phase(("net",), loss)], tx), state, batch


def test_flops_are_those_counted_by_hand():
    step, state, batch = tiny_step()
    programs, *_ = jitted(step, batch, None, make_mesh(jax.devices()[:1]))
    outputs = IMAGES * (SIDE - 2) ** 2 * WIDTH
    # Forward and the kernel's gradient; the images need none. The classifier has both gradients.
    products = 2 * outputs * 27 + 3 * IMAGES * WIDTH * CLASSES
    # Beside them mean and its gradient touch every output once or twice.
    assert 2 * products <= lowering.flops(programs[0], state, batch) <= 2 * products + 4 * outputs


def test_what_a_system_trains_is_found_and_lowers():
    config = import_module("configs.lsro").get_config("tiny").to_dict()
    found = {}
    for training in trainings(config, make_mesh(jax.devices()[:1])):
        found |= dict.fromkeys(training.names, training)
    assert [*found] == ["dcgan", "reid_baseline", "reid_jitter", "reid_lsro"]
    gan, own = (lowering.measure(found[name]) for name in ("dcgan", "reid_lsro"))
    assert gan["tpu"] == own["tpu"] == "yes" and min(gan["flops"], own["flops"]) > 0
    assert own["batch"]["generated_image"] == [3, 32, 16, 3]
    assert gan["state_bytes"] > 3 * 4 * gan["parameters"]  # and Adam's two moments
    assert gan["batch_bytes"] == 8 * 32 * 16 * 3


def test_equal_trainings_are_one_and_translators_are_stacked():
    config = import_module("configs.unitystyle").get_config("tiny").to_dict()
    first, own, *_ = trainings(config, make_mesh(jax.devices()[:1]))
    assert [*own.names] == ["reid_unitystyle", "reid_twice"]
    assert [*first.names] == ["unitygan/camera_1_and_2_more"]
    assert first.batch["d_x"].shape == (3, 4, 36, 18, 3)


def test_a_rehearsal_leaves_the_library_as_it_was():
    before = dict(vars(import_module("jaxreid.stages.embedding")))
    trainings(import_module("configs.ide").get_config("tiny").to_dict())
    assert vars(import_module("jaxreid.stages.embedding")) == before


def test_steps_are_traced_in_the_forms_of_a_tpu():
    def lowered() -> str:
        x, kernel = jnp.zeros((1, 8, 8, 3)), jnp.zeros((7, 7, 3, 4))
        return jax.jit(lambda x, k: convolution.conv(x, k)).lower(x, kernel).as_text()

    assert "stablehlo.convolution" not in lowered()
    with traced_for_tpu():
        assert "stablehlo.convolution" in lowered()


def test_arguments_split_over_devices_are_counted():
    one = '%arg0: tensor<8x3xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"data"}, {}]>}'
    other = "%arg1: tensor<f32> {sdy.sharding = #sdy.sharding<@mesh, []>}"
    result = 'tensor<8xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"data"}]>}'
    assert lowering.split(f"func.func public @main({one}, {other}) -> ({result}) {{") == 1


def test_an_operation_that_no_tpu_has_is_named(tmp_path):
    def program(state, batch):
        return state, {"x": jax.lax.linalg.schur(batch["image"][0, :, :, 0])[0]}

    _, state, batch = tiny_step()
    row = lowering.measure(lowering.Training({"made_up": None}, (jax.jit(program),), state, batch))
    assert "schur" in row["tpu"] and "tpu" in row["tpu"]
    case = {"system": "ide", "devices": 1, "parallel": "jit", "scale": "tiny", "jax": "0"}
    (tmp_path / "ide.json").write_text(json.dumps(case | {"rows": [row]}))
    assert "schur" in page(tmp_path)


def test_every_config_is_in_the_page():
    written = Path("docs/lowering.md").read_text()
    assert [name for name in lowering.CONFIGS if f"| {name} | " not in written] == []


@pytest.mark.slow
@pytest.mark.parametrize("system", lowering.CONFIGS)
def test_every_step_of_the_papers_lowers_for_a_tpu(system):
    rows = lowering.rows(lowering.Case(system), "paper")
    assert rows and {row["tpu"] for row in rows} == {"yes"}
