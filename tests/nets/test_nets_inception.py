"""FID's Inception-v3: counts, names, and pytorch-fid's features of the same weights and images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import draw_images, load

from jaxreid.nets import inception
from jaxreid.nets.convert import from_torch
from jaxreid.nets.inception import FIDInception, pytorch_fid_input
from jaxreid.nets.weights import fetch, read

pytestmark = pytest.mark.usefixtures("quick_compiler")
ORACLE = "pytorch-fid 0.3.0, torchvision 0.28, PyTorch 2.13"


def shapes_of(rows, columns):
    images = jax.ShapeDtypeStruct((2, rows, columns, 3), jnp.float32)
    return jax.eval_shape(FIDInception().init_with_output, jax.random.key(0), images)


def test_parameter_count_and_shapes():
    levels, variables = shapes_of(299, 299)
    assert [level.shape for level in levels] == [(2, n) for n in inception.LEVELS]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    classifier = 2048 * 1008 + 1008
    assert count + classifier == 23_850_960


def test_small_images_are_refused():
    shapes_of(75, 75)
    with pytest.raises(ValueError, match=r"75x75 pixels or more, .* 128x64: pytorch_fid_input"):
        shapes_of(128, 64)


@pytest.mark.parametrize("shape", [(2, 64, 32, 3), (1, 400, 350, 3)])
def test_input_equals_pytorch(shape, proof):
    golden, _ = load("fid_inception")
    ours = np.asarray(pytorch_fid_input(draw_images(shape)))[0, ::37, ::37]
    error = np.abs(ours - golden["resized" if shape[1] == 64 else "shrunk"]).max()
    proof("pytorch-fid's resize to 299x299", ORACLE, error, 1e-5)


def test_features_equal_pytorch_fid(proof):
    golden, state = load("fid_inception")
    variables, report = from_torch(state, shapes_of(299, 299)[1])
    assert (report.missing, set(report.unexpected)) == ((), {"fc.weight", "fc.bias"})
    run = jax.jit(lambda v, x: FIDInception().apply(v, pytorch_fid_input(x)))
    for i, ours in enumerate(run(variables, draw_images((2, 64, 32, 3)))):
        theirs = golden[f"level{i}"]
        assert np.abs(theirs[0] - theirs[1]).max() > 5e-3 * np.abs(theirs).max()
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        row = f"FID's Inception-v3, drawn weights, {inception.LEVELS[i]} features, relative"
        proof(row, ORACLE, error, 1e-5)


def test_a_max_pool_and_the_edges_of_average_pools():
    x = jnp.asarray(draw_images((1, 4, 3, 2))) + 2
    for pool, combine in (("average", np.mean), ("max", np.max)):
        found = inception._pooled(x, pool)
        for i, j in np.ndindex(4, 3):
            window = x[0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            np.testing.assert_allclose(found[0, i, j], combine(window, (0, 1)), rtol=1e-6)


def test_the_published_file_fits():
    path = fetch.directory() / "pt_inception-2015-12-05-6726825d.pth"
    if not path.is_file():
        pytest.skip(f"no '{path}': no package has it; put pytorch-fid's published file there")
    variables, report = from_torch(read(path), shapes_of(299, 299)[1])
    assert (report.missing, set(report.unexpected)) == ((), {"fc.weight", "fc.bias"})
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
