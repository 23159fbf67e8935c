"""Damaged files of permutations: trials, or a message that names what is wrong."""

import io

import numpy as np
import pytest
from fuzzing import damaged, fuzz, orderly
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from jaxreid.evaluation import Draw, Embedded, drawn, load_permutations, matfile

PEOPLE, CAMERAS = np.array([1, 1, 1, 2, 2, 2]), np.array([0, 0, 1, 0, 1, 1])
GALLERY = Embedded(np.eye(6), PEOPLE, CAMERAS)


def written(compressed):
    cameras = np.empty((2, 1), object)
    for camera in range(2):
        cameras[camera, 0] = np.empty((2, 1), object)
        for pid in (1, 2):
            count = np.sum((PEOPLE == pid) & (CAMERAS == camera))
            order = np.tile(np.arange(count, 0, -1), (10, 1)).astype(np.uint16)
            cameras[camera, 0][pid - 1, 0] = order
    file = io.BytesIO()
    savemat(file, {"rand_perm_cam": cameras}, do_compression=compressed)
    return file.getvalue()


def test_damaged_permutations(tmp_path):
    path = tmp_path / "rand_perm_cam.mat"
    whole = {compressed: written(compressed) for compressed in (True, False)}

    @fuzz(200)
    @given(st.sampled_from([True, False]).flatmap(lambda kind: damaged(whole[kind])))
    def run(content):
        path.write_bytes(content)
        with orderly(path, "The permutations"):
            trials = drawn(GALLERY, Draw((0, 1), 1), load_permutations(path))
            for rows in trials:
                keys = [(PEOPLE[row], CAMERAS[row]) for row in rows]
                assert keys == [(1, 0), (1, 1), (2, 0), (2, 1)]

    for content in whole.values():
        path.write_bytes(content)
        assert load_permutations(path)[1][1].tolist() == [[2, 1]] * 10
    run()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f8"])
def test_the_reader_agrees_with_scipys(compressed, dtype):
    inner = [np.arange(20).reshape(10, 2), np.zeros((0, 0)), np.arange(3)[None], np.zeros((10, 0))]
    cells = np.empty((2, 1), object)
    for camera in range(2):
        cells[camera, 0] = np.empty((4, 1), object)
        cells[camera, 0][:, 0] = [each.astype(dtype) for each in inner]
    file = io.BytesIO()
    variables = {"first": np.eye(2), "rand_perm_cam": cells}
    savemat(file, variables, do_compression=compressed)
    expected = loadmat(file)["rand_perm_cam"].ravel()
    found = matfile.load(file.getvalue(), "rand_perm_cam")
    assert len(found) == 2
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs.ravel(), strict=True):
            assert a.shape == b.shape and np.array_equal(a, b)
