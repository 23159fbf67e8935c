"""Networks that images are measured by: weights found or missed, features as recorded."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreid.evaluation import frechet_between, image_features, image_moments
from jaxreid.nets import convert, weights
from jaxreid.nets.inception import FIDInception, pytorch_fid_input
from jaxreid.nets.weights import fetch
from jaxreid.stages import quality

GOLDEN = Path(__file__).parents[1] / "golden"
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def quick(quick_compiler):
    """Most of the time is compiling."""


def waves(rows, columns):
    h, w, c = np.meshgrid(np.arange(rows), np.arange(columns), np.arange(3), indexing="ij")
    image = np.sin(2 * np.pi * (c + 1) * h / rows) * np.cos(2 * np.pi * w / columns)
    return image[None].astype(np.float32)


def test_the_random_network_never_changes():
    net = quality.feature_net("random_conv")
    found = image_features(net, [waves(64, 32)])
    assert found.shape == (1, 64) and (found == image_features(net, [waves(64, 32)])).all()
    recorded = [0.074337065, 0.127294347, 0.100355372]
    np.testing.assert_allclose(found[0, [0, 31, 63]], recorded, rtol=1e-5)


def test_distances_by_the_random_network():
    net, images = quality.feature_net("random_conv"), rng.uniform(-1, 1, (130, 16, 8, 3))
    images = images.astype(np.float32)
    own = image_moments(net, np.split(images, 13))
    values = []
    for strength in (0, 0.1, 0.5):
        noisy = np.clip(images + strength * rng.normal(size=images.shape), -1, 1)
        other = image_moments(net, np.split(np.float32(noisy), 13))
        found = frechet_between(net, own, other)
        assert (found.key, found.title) == ("fd/random_conv", "FD(random_conv, d=64, N=130/130)")
        values.append(found.value)
    assert abs(values[0]) < 1e-9 and values[0] < values[1] / 10 < values[2] / 20


@pytest.mark.parametrize("name", quality.KINDS)
def test_missing_weights_name_the_command(name, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXREID_WEIGHTS", str(tmp_path))
    file = quality.KINDS[name].file
    way = f"weights.fetch {file[:-4]}'" if name != "inception_2015" else "page of pytorch-fid"
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path / file))}.*{way}"):
        quality.feature_net(name)
    with pytest.raises(FileNotFoundError, match="elsewhere.npz"):
        quality.feature_net(name, "elsewhere.npz")


def test_lpips_without_weights_and_unknown_names(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXREID_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="weights.fetch lpips_vgg16'"):
        quality.lpips("vgg16")
    with pytest.raises(ValueError, match="no trunk 'squeeze'; choose one of alexnet, vgg16"):
        quality.lpips("squeeze")
    with pytest.raises(ValueError, match="no feature network 'resnet'; choose .* random_conv"):
        quality.feature_net("resnet")


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "trunk.npz"
    np.savez(path, **{"features.0.bias": np.zeros(64, np.float32)})
    with pytest.raises(ValueError, match="trunk.npz' does not hold this network: 1 arrays used"):
        quality.feature_net("alexnet", path)


def fetched(file):
    path = fetch.directory() / file
    if not path.is_file():
        name = path.stem
        pytest.skip(f"no '{path}': run python -m jaxreid.nets.weights.fetch {name}")
    return path


def test_efficientnet_pool_equals_pytorch():
    net = quality.feature_net("efficientnet_lite0", fetched("efficientnet_lite0.npz"))
    found = image_features(net, [waves(224, 224)])[0]
    theirs = np.load(GOLDEN / "weights_efficientnet_lite0.npz")["pooled"]
    assert np.abs(found - theirs).max() < 2e-5 * np.abs(theirs).max()
    assert image_features(net, [waves(128, 64)]).shape == (1, 1280)


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_trunks_are_averaged_after_their_last_relu(name):
    kind = quality.KINDS[name]
    net = quality.feature_net(name, fetched(kind.file))
    images = waves(224, 224)
    found = image_features(net, [images])[0]
    arrays = weights.read(fetch.directory() / kind.file)
    variables = quality._loaded(kind.net, kind.file, None, images)
    taps = jax.jit(kind.net.apply)(variables, images)
    assert taps[-1].shape[-1] == kind.dim == len(found) == arrays["lin4.model.1.weight"].size
    np.testing.assert_allclose(found, taps[-1].mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    assert (found >= 0).all() and found.std() > 0


@pytest.mark.parametrize("trunk", ["alexnet", "vgg16"])
def test_lpips_measures(trunk):
    fetched(f"lpips_{trunk}.npz")
    measure, images = quality.lpips(trunk), waves(64, 64)
    recorded = {"alexnet": 0.2508740, "vgg16": 0.7163043}[trunk]
    np.testing.assert_allclose(measure(images, -images), [recorded], atol=1e-6)


def drawn(key, shape):
    noise = rng.normal(size=shape)
    if len(shape) > 1:
        return np.float32(noise * (2 / np.prod(shape[1:])) ** 0.5)
    return np.float32(key.endswith(("weight", "var")) + 0.1 * noise)


def test_fid_features_come_out_of_a_file_under_pytorchs_names(tmp_path):
    with np.load(GOLDEN / "nets_fid_inception.npz") as golden:
        shapes = [tuple(int(n) for n in text.split(",") if n) for text in golden["shapes"]]
        pairs = zip(map(str, golden["keys"]), shapes, strict=True)
        state = {key: drawn(key, shape) for key, shape in pairs}
    path, images = tmp_path / "inception.npz", np.float32(rng.uniform(-1, 1, (2, 64, 32, 3)))
    np.savez(path, **state)
    net = quality.feature_net("inception_2015", path)
    found = image_features(net, [images])
    assert (net.resize, net.layer, net.dim) == ("pytorch", "pool", found.shape[1])
    apply, resized = FIDInception().apply, np.asarray(pytorch_fid_input(images))
    shapes = jax.eval_shape(FIDInception().init, jax.random.key(0), resized)
    levels = jax.jit(apply)(convert.from_torch(state, shapes)[0], resized)
    assert np.abs(found - levels[3]).max() < 1e-5 * np.abs(levels[3]).max()
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(found).max()
