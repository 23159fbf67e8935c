"""PyTorch weights: names, orientation, reports and errors (values: test_nets_parity)."""

import jax
import numpy as np
import pytest
from nets_golden import draw_images
from nets_golden import load as load_golden
from weights_files import write_legacy, write_safetensors, write_zip

from jaxreid.nets.convert import (
    Report,
    from_torch,
    generator_from_torch,
    load,
    load_pretrained,
)
from jaxreid.nets.cyclegan import ResnetGenerator
from jaxreid.nets.heads import BNNeck
from jaxreid.nets.reid import ReID
from jaxreid.nets.resnet import ResNet


def variables_of(net, shape=(2, 48, 24, 3)):
    shapes = jax.eval_shape(net.init, jax.random.key(0), draw_images(shape))
    return jax.tree.map(lambda a: np.full(a.shape, 0.5, a.dtype), shapes)


@pytest.fixture
def reid():
    return variables_of(ReID(ResNet(50, 4, last_stride=1), BNNeck(3)))


@pytest.fixture
def resnet50(tmp_path):
    _, state = load_golden("resnet50_imagenet_1")
    np.savez(tmp_path / "resnet50.npz", **state)
    return tmp_path / "resnet50.npz", state


def test_pretrained_backbone_is_loaded_and_reported(reid, resnet50):
    path, state = resnet50
    loaded, report = load_pretrained(path, reid)
    assert len(state) == 320
    assert (len(report.used), report.missing) == (320 - 53 - 2, ())
    assert set(report.unexpected) == {"fc.weight", "fc.bias"}
    backbone = loaded["params"]["backbone"]
    theirs = state["layer2.0.downsample.0.weight"]
    np.testing.assert_array_equal(
        backbone["layer2_0"]["downsample_0"]["kernel"], theirs.transpose(2, 3, 1, 0)
    )
    ours = loaded["batch_stats"]["backbone"]["layer1_0"]["bn2"]
    np.testing.assert_array_equal(ours["var"], state["layer1.0.bn2.running_var"])
    assert jax.tree.structure(loaded) == jax.tree.structure(reid)
    for leaf in jax.tree.leaves(loaded["params"]["head"]):
        assert (leaf == 0.5).all()


def test_public_files_without_batch_counters_load(reid, resnet50, tmp_path):
    _, state = resnet50
    older = {key: value for key, value in state.items() if "num_batches" not in key}
    np.savez(tmp_path / "older.npz", **older)
    assert len(older) == 267
    assert load_pretrained(tmp_path / "older.npz", reid)[1].missing == ()


def test_missing_file_is_named(reid, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npz"):
        load_pretrained(tmp_path / "absent.npz", reid)


def test_every_format_loads_alike(reid, resnet50, tmp_path):
    path, state = resnet50
    expected = load_pretrained(path, reid)
    for write in (write_zip, write_legacy, write_safetensors):
        (tmp_path / "weights").write_bytes(write(state))
        found = load_pretrained(tmp_path / "weights", reid)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_any_network_loads_by_its_rule_and_reports_every_key(tmp_path):
    _, state = load_golden("generator")
    wrapped = {f"module.{key}": value for key, value in state.items()}
    (tmp_path / "latest_net_G_A.pth").write_bytes(write_zip(wrapped))
    variables = variables_of(ResnetGenerator(8, 2), (2, 16, 8, 3))
    loaded, report = load(tmp_path / "latest_net_G_A.pth", variables, generator_from_torch)
    jax.tree.map(np.testing.assert_array_equal, loaded, generator_from_torch(state, variables)[0])
    assert (set(report.used), report.missing, report.unexpected) == (set(state), (), ())
    note = "the prefix 'module.' was taken from every name"
    assert report.notes == (note,)
    used = f"{len(state)} arrays used; 0 missing; 0 unexpected; {note}"
    assert report.describe() == used
    assert Report(("a",), ("b", "c"), ("d",)).describe() == (
        "1 arrays used; 2 missing: b, c; 1 unexpected: d"
    )


def test_ibn_names_load(tmp_path):
    _, state = load_golden("resnet50_ibn_a")
    variables = variables_of(ReID(ResNet(50, 4, ibn="a"), BNNeck(3)), (2, 64, 32, 3))
    (tmp_path / "resnet50_ibn_a.pth").write_bytes(write_legacy(state))
    loaded, report = load_pretrained(tmp_path / "resnet50_ibn_a.pth", variables)
    assert "layer1.0.bn1.IN.weight" in report.used
    norm = loaded["params"]["backbone"]["layer1_0"]["bn1"]["IN"]
    np.testing.assert_array_equal(norm["scale"], state["layer1.0.bn1.IN.weight"])


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 torn archive"])
def test_a_file_of_another_kind_is_refused(reid, tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Weights file '.*weights\.npz' is "):
        load_pretrained(path, reid)


def test_pickled_objects_are_never_read(reid, tmp_path):
    np.savez(tmp_path / "objects.npz", **{"conv1.weight": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        load_pretrained(tmp_path / "objects.npz", reid)


def test_a_wrong_shape_names_key_and_shapes(resnet50):
    path, _ = resnet50
    wider = variables_of(ReID(ResNet(50, 8), BNNeck(3)))
    with pytest.raises(ValueError, match=r"'\S+'.*\(\d+.*\) .*'params/\S+'.*\(\d+"):
        load_pretrained(path, wider)


def test_a_file_of_another_network_names_what_is_missing(reid, tmp_path):
    _, state = load_golden("patchgan")
    np.savez(tmp_path / "patchgan.npz", **state)
    with pytest.raises(ValueError, match=r"lacks 265 \(first 'batch_stats/bn1/.*has none"):
        load_pretrained(tmp_path / "patchgan.npz", reid)


@pytest.mark.parametrize("extra", ["layer3.6.conv1.weight", "layer1.2.IN.weight"])
def test_a_deeper_network_or_one_with_other_norms_is_refused(reid, tmp_path, resnet50, extra):
    _, state = resnet50
    np.savez(tmp_path / "other.npz", **state, **{extra: np.zeros(3)})
    with pytest.raises(ValueError, match=rf"lacks none .* has 1 \(first '{extra}'\)"):
        load_pretrained(tmp_path / "other.npz", reid)


def test_running_statistics_of_untracked_norms_are_reported_unexpected():
    _, state = load_golden("generator")
    state["model.2.running_mean"] = np.zeros(8, np.float32)
    variables = variables_of(ResnetGenerator(8, 2), (2, 16, 8, 3))
    _, report = generator_from_torch(state, variables)
    assert (report.missing, report.unexpected) == ((), ("model.2.running_mean",))


def test_dropout_shifts_torch_names_only():
    _, state = load_golden("generator_affine_dropout")
    variables = variables_of(ResnetGenerator(8, 2, norm_affine=True), (2, 16, 8, 3))
    loaded, report = generator_from_torch(state, variables)
    assert (report.missing, report.unexpected) == ((), ())
    np.testing.assert_array_equal(
        loaded["params"]["model_10"]["conv_block_6"]["scale"], state["model.10.conv_block.7.weight"]
    )


def test_linear_layers_are_transposed():
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    variables = {"params": {"fc": {"kernel": np.zeros((2, 3), np.float32), "bias": np.ones(3)}}}
    loaded, report = from_torch({"fc.weight": weight}, variables)
    np.testing.assert_array_equal(loaded["params"]["fc"]["kernel"], weight.T)
    assert report.missing == ("params/fc/bias",)
