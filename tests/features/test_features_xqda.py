"""XQDA: pairs listed one by one, the authors' code, and people whom plain distances mix up."""

import features_cases as cases
import numpy as np
import pytest

from jaxreid.features import project, xqda
from jaxreid.features.projections import Side


def distances(projections, x, z):
    a, b = (project(projections, s, np.full(len(s), k)) for k, s in enumerate((x, z)))
    return np.square(a[:, None] - b).sum(-1)


def nearest(table, labels, others):
    return float(np.mean(np.asarray(others)[table.argmin(1)] == labels))


def misleading(seed, identities=8, each=6):
    """Ten dimensions of much noise, two of faint identity, and a constant gap of the modalities."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    centres = rng.normal(size=(identities, 2))
    sides = []
    for shift in (0.0, 1.5):
        told = centres[labels] + 0.15 * rng.normal(size=(len(labels), 2))
        noise = shift + 3 * rng.normal(size=(len(labels), 10))
        sides.append(np.concatenate([told, noise], axis=1) / 10)
    return sides[0], labels, sides[1], labels


def test_sums_over_people_are_sums_over_pairs(proof):
    x, lx, z, lz = cases.people(1, 5, 4, 3)
    x, lx = x[:-3], lx[:-3]  # unequal numbers, and one who is in the second view alone
    lz = np.where(lz == 2, 9, lz)
    table = {True: [], False: []}
    for i, a in enumerate(x):
        for j, b in enumerate(z):
            table[bool(lx[i] == lz[j])].append(np.outer(a - b, a - b))
    found = xqda.covariances(Side(x, lx), Side(z, lz))
    for matrix, same in zip(found, (True, False), strict=True):
        error = np.abs(matrix - np.mean(table[same], axis=0)).max()
        proof("xqda, covariances", "pairs one by one", error, 1e-12)


def test_the_authors_code_gives_the_same_metric(proof):
    """With all eigenvalues above 1 their singular vectors span what eigenvectors do."""
    saved, given = cases.golden("xqda"), cases.people(3, 12, 5, 6, noise=0.2, gap=0.1)
    assert given[0].sum() + given[2].sum() == pytest.approx(saved["inputs"], abs=1e-7)
    w = xqda.learn(*given).visible
    expected = np.array(saved["kernel"])
    error = np.abs(w @ w.T - expected).max() / np.abs(expected).max()
    proof("xqda, metric, relative", "XQDA.m, Octave 7.3", error, 1e-8)


def test_the_metric_is_the_one_of_the_formula(proof):
    given = misleading(2)
    found = xqda.learn(*given)
    within, between = xqda.covariances(Side(*given[:2]), Side(*given[2:]))
    within = within + 1e-3 * np.eye(len(within))
    values, vectors = np.linalg.eig(np.linalg.solve(within, between))
    w = vectors[:, values > 1].real
    assert 0 < w.shape[1] == found.visible.shape[1] < len(within)
    middle = np.linalg.inv(w.T @ within @ w) - np.linalg.inv(w.T @ between @ w)
    expected = w @ middle @ w.T
    error = np.abs(found.visible @ found.visible.T - expected).max() / np.abs(expected).max()
    proof("xqda, metric of few directions, relative", "its formula", error, 1e-9)
    assert found.visible is found.infrared and not found.mean.any()


def test_more_features_than_images_are_compressed_without_loss(proof):
    x, lx, z, lz = cases.people(6, 6, 3, 50)
    found = xqda.learn(x, lx, z, lz)
    wide = np.concatenate([x, x, np.zeros_like(x)], 1), np.concatenate([z, z, np.zeros_like(z)], 1)
    plain = xqda.learn(np.sqrt(2) * x, lx, np.sqrt(2) * z, lz)
    doubled = xqda.learn(wide[0], lx, wide[1], lz)
    expected = distances(plain, np.sqrt(2) * x, np.sqrt(2) * z)
    error = np.abs(distances(doubled, *wide) - expected).max() / expected.max()
    proof("xqda, features repeated, relative", "the same, scaled", error, 1e-8)
    small = np.linalg.qr(np.concatenate([x, z]).T)[0]
    again = xqda.learn(x @ small, lx, z @ small, lz)
    expected = distances(found, x, z)
    error = np.abs(distances(again, x @ small, z @ small) - expected).max() / expected.max()
    proof("xqda, in the span of the images, relative", "all dimensions", error, 1e-8)


def test_order_names_and_turns_change_nothing(proof):
    x, lx, z, lz = misleading(3)
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    p, q = rng.permutation(len(x)), rng.permutation(len(z))
    expected = distances(xqda.learn(x, lx, z, lz), x, z)
    others = {
        "permuted": distances(xqda.learn(x[p], lx[p], z[q], lz[q]), x, z),
        "renamed": distances(xqda.learn(x, 50 - 3 * lx, z, 50 - 3 * lz), x, z),
        "turned": distances(xqda.learn(x @ turn, lx, z @ turn, lz), x @ turn, z @ turn),
        "exchanged": distances(xqda.learn(z, lz, x, lx), x, z),
    }
    for name, found in others.items():
        error = np.abs(found - expected).max() / expected.max()
        proof(f"xqda, {name}, relative", "the same before", error, 1e-9)


def test_it_finds_people_whom_the_plain_distance_mixes_up():
    x, lx, z, lz = misleading(4, identities=40)
    half = lx < 25  # the people of the test are others than those of training
    found = xqda.learn(x[half], lx[half], z[half], lz[half])
    x, lx, z, lz = x[~half], lx[~half], z[~half], lz[~half]
    plain = nearest(np.square(x[:, None] - z).sum(-1), lx, lz)
    assert plain < 0.25 < 0.6 < nearest(distances(found, x, z), lx, lz)


def test_what_cannot_be_learned_is_refused():
    x, lx, z, lz = cases.people(1, 5, 4, 3)
    for change, said in (
        ((x[:, :2], lx, z, lz), "2 visible and 3 infrared"),
        ((x, lx[:3], z, lz), r"visible features \[n,d\] and labels \[n\]"),
        ((x, lx, z[:0], lz[:0]), "infrared features"),
        ((x, lx, np.full_like(z, np.nan), lz), "infrared features are not finite"),
        ((x, lx, z, lz + 50), "0 are seen in both"),
        ((x, 0 * lx, z, 0 * lz), "two or more"),
    ):
        with pytest.raises(ValueError, match=f"xqda.*{said}"):
            xqda.learn(*change)
    with pytest.raises(ValueError, match="no direction .* lower the ridge, 1000"):
        xqda.learn(x, lx, z, lz, xqda.Settings(ridge=1000.0))
    with pytest.raises(ValueError, match="xqda.ridge is 0"):
        xqda.Settings(ridge=0)


def test_projections_take_the_side_of_each_image():
    found = xqda.learn(*cases.people(1, 5, 4, 3))._replace(infrared=np.eye(3), mean=np.ones(3))
    rows = np.arange(6.0).reshape(2, 3)
    both = project(found._replace(visible=2 * np.eye(3)), rows, [0, 1])
    np.testing.assert_array_equal(both, [2 * (rows[0] - 1), rows[1] - 1])
    for features, side, said in ((rows[:, :2], [0, 1], "n,3"), (rows, [0, 2], r"not \[0, 2\]")):
        with pytest.raises(ValueError, match=said):
            project(found, features, side)
