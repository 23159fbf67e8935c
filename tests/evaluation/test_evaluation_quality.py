"""Names of distances, features in batches."""

import numpy as np
import pytest

from jaxreid.evaluation import (
    FeatureNet,
    frechet_between,
    frechet_distance,
    image_features,
    image_moments,
    kernel_between,
    kernel_distance_over_subsets,
    moments,
)

rng = np.random.default_rng(0)
IMAGES, OTHERS = rng.uniform(-1, 1, (2, 23, 4, 2, 3))


def corners(images):
    return images[:, 0, 0]


def net(name="small_net", layer="pool", dim=3, resize=""):
    return FeatureNet(name, layer, dim, corners, resize)


def batches(images, size=8):
    return [images[i : i + size] for i in range(0, len(images), size)]


def test_features_and_moments_do_not_depend_on_batches():
    whole = moments(corners(IMAGES))
    for size in (1, 8, 23, 100):
        parts = batches(IMAGES, size)
        np.testing.assert_array_equal(image_features(net(), parts), corners(IMAGES))
        found = image_moments(net(), iter(parts))
        assert found.rows == 23
        np.testing.assert_allclose(found.mean, whole.mean, atol=1e-14)
        np.testing.assert_allclose(found.scatter, whole.scatter, atol=1e-13)


def test_one_size_of_batches_reaches_the_network():
    sizes = []
    watching = net()._replace(features=lambda x: sizes.append(len(x)) or corners(x))
    image_features(watching, batches(IMAGES))
    assert sizes == [8, 8, 8]


@pytest.mark.parametrize(
    ("which", "title", "key"),
    [
        (net(), "(small_net.pool, d=3, N=23/15)", "/small_net_pool"),
        (net(layer=""), "(small_net, d=3, N=23/15)", "/small_net"),
        (net("inception_2015", "aux"), "(inception_2015.aux, d=3, N=23/15)", "/inception_2015_aux"),
    ],
)
def test_names_and_values(which, title, key):
    first, second = (image_moments(which, batches(x)) for x in (IMAGES, OTHERS[:15]))
    found = frechet_between(which, first, second)
    assert (found.title, found.key) == ("FD" + title, "fd" + key)
    assert (found.value, found.deviation) == (frechet_distance(first, second), None)
    x, y = corners(IMAGES), corners(OTHERS[:15])
    found = kernel_between(which, x, y, seed=3)
    assert (found.title, found.key) == ("KD" + title, "kd" + key)
    assert (found.value, found.deviation) == kernel_distance_over_subsets(x, y, seed=3)


def test_only_the_pool_of_inception_2015_is_fid_and_names_its_resize():
    zero = moments(np.zeros((2049, 2048)))
    zero = zero._replace(scatter=np.zeros((2048, 2048)))
    inception = net("inception_2015", dim=2048, resize="pytorch")
    x = rng.normal(size=(3, 2048))
    found = kernel_between(inception, x, x)
    assert (found.title, found.key) == ("KID(pytorch resize, d=2048, N=3/3)", "kid/pytorch")
    with pytest.raises(ValueError, match="FID needs the name of the convention"):
        frechet_between(inception._replace(resize=""), zero, zero)
    other = kernel_between(inception._replace(net="inception_v3"), x, x)
    assert other.key == "kd/inception_v3_pool"


def test_fid_has_its_key(monkeypatch):
    monkeypatch.setattr("jaxreid.evaluation.quality.frechet_distance", lambda a, b: 7.0)
    few = moments(np.eye(2))
    found = frechet_between(net("inception_2015", dim=2048, resize="clean"), few, few)
    assert found == ("fid/clean", "FID(clean resize, d=2048, N=2/2)", 7.0, None)


def test_bad_images_and_networks_are_refused():
    with pytest.raises(ValueError, match="floating-point.*uint8: divide"):
        image_features(net(), [np.zeros((2, 4, 4, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"'small_net' gave .*\(8, 3\) for 8 .* said to have 4"):
        image_moments(net(dim=4), batches(IMAGES))
    for collect in (image_features, image_moments):
        with pytest.raises(ValueError, match="no image"):
            collect(net(), [])
