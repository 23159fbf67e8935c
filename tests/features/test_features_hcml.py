"""HCML and MLAPG: the authors' code, slopes by differences, and people whom distances mix up."""

from dataclasses import replace

import features_cases as cases
import numpy as np
import pytest

from jaxreid.features import hcml, mlapg, project
from jaxreid.features.projections import Side

AS_CODE = hcml.Settings(infrared_step="as_code")


def squares(a, b):
    return np.square(a[:, None] - b).sum(-1)


def distances(projections, x, z):
    return squares(*(project(projections, s, np.full(len(s), k)) for k, s in enumerate((x, z))))


@pytest.fixture(scope="module")
def given():
    saved = cases.golden("hcml")
    train, test = cases.people(4, 8, 4, 10), cases.people(5, 4, 1, 10)
    total = sum(part.sum() for part in (train[0], train[2], test[0], test[2]))
    assert total == pytest.approx(saved["inputs"], abs=1e-7), "this NumPy draws other numbers"
    return saved, train, (test[0], test[2])


@pytest.mark.parametrize("number", range(4))
def test_the_authors_code_gives_the_same(given, number, proof):
    saved, (x, lx, z, lz), (new_x, new_z) = given
    case = saved["cases"][number]
    settings = replace(AS_CODE, rounds=case["rounds"])
    v, t, history = hcml.alternate(Side(x, lx), Side(z, lz), settings)
    assert len(history) == case["taken"]
    for name, other in (("across", new_z @ t), ("within", new_x @ v)):
        expected = np.array(case[name])
        error = np.abs(squares(new_x @ v, other) - expected).max() / expected.max()
        proof(f"hcml, {name}, {case['rounds']} rounds, relative", "HCML.m, Octave 7.3", error, 1e-6)


def test_the_authors_code_behind_principal_components_gives_the_same(given, proof):
    saved, train, (new_x, new_z) = given
    case = saved["reduced"]
    found = hcml.learn(*train, replace(AS_CODE, dims=case["dims"]))
    expected = np.array(case["across"])
    error = np.abs(distances(found, new_x, new_z) - expected).max() / expected.max()
    proof("hcml, 4 components, relative", "PCA.m and HCML.m, Octave 7.3", error, 1e-6)


def problem(seed=0, n=5, m=4, d=3):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    sign = np.where(np.arange(n)[:, None] == np.arange(m), 1.0, -1.0)
    weight = np.where(sign > 0, 1 / 4, 1 / 16)
    pairs = mlapg.Pairs(sign, weight, float(squares(x, z).mean()))
    return x, z, pairs


def by_hand(x, z, metric, pairs):
    total = 0.0
    for i, a in enumerate(x):
        for j, b in enumerate(z):
            apart = (a - b) @ metric @ (a - b)
            total += pairs.weight[i, j] * np.log(
                1 + np.exp(pairs.sign[i, j] * (apart - pairs.threshold))
            )
    return total


def test_a_step_of_the_metric_goes_down_the_slope_by_differences(proof):
    """The first step is not extrapolated: a plain proximal step from the identity."""
    x, z, pairs = problem()
    before = mlapg.begin(x, z, pairs, 2.0**10)  # short steps: nothing is cut off
    error = abs(before.objective - by_hand(x, z, np.eye(3), pairs))
    proof("mlapg, objective", "pairs one by one", error, 1e-12)
    after, point = mlapg.step(before, x, z, pairs)
    slope, h = np.zeros((3, 3)), 1e-5
    for i, j in np.ndindex(3, 3):
        move = np.zeros((3, 3))
        move[i, j] = h
        ends = (by_hand(x, z, np.eye(3) + s * move, pairs) for s in (1, -1))
        slope[i, j] = np.subtract(*ends) / (2 * h)
    np.testing.assert_array_equal(point.matrix, np.eye(3))
    error = np.abs((np.eye(3) - after.matrix) * after.steepness - slope).max()
    proof("mlapg, slope", "central differences", error, 1e-7)


def test_steps_keep_below_their_model_and_reach_the_minimum(proof):
    x, z, pairs = problem(1, 12, 12, 4)
    metric, values = mlapg.begin(x, z, pairs), []
    for _ in range(400):
        metric, point = mlapg.step(metric, x, z, pairs)
        assert metric.objective <= metric.bound * (1 + 1e-11)
        assert np.linalg.eigvalsh(metric.matrix).min() > -1e-12
        np.testing.assert_allclose(metric.root @ metric.root.T, metric.matrix, atol=1e-12)
        values.append(metric.objective)
    first = mlapg.begin(x, z, pairs).objective
    assert values[-1] < values[0] < first
    rng = np.random.default_rng(0)  # the problem is convex: nothing near is better
    for _ in range(200):
        root = metric.root @ metric.root.T + 1e-3 * rng.normal(size=(4, 4))
        values_, vectors = np.linalg.eigh((root + root.T) / 2)
        other = (vectors * np.maximum(values_, 0)) @ vectors.T
        assert by_hand(x, z, other, pairs) >= metric.objective - 1e-10
    proof("mlapg, after 400 steps", "the step before", abs(values[-1] - values[-2]), 1e-9)


def test_the_slope_within_a_modality_is_that_of_its_term(proof):
    """With weight 1 within and no pull across, V moves by rate times that slope alone."""
    rng = np.random.default_rng(2)
    side = Side(rng.normal(size=(9, 3)), np.repeat([0, 1, 2], 3))
    middles = np.repeat([side.features[i : i + 3].mean(0) for i in (0, 3, 6)], 3, axis=0)
    grouped, turn = hcml._grouped(side), rng.normal(size=(3, 3))

    def term(turn):
        return np.mean(
            [
                np.log(1 + np.exp(((f - m) @ turn) @ ((f - m) @ turn)))
                for f, m in zip(side.features, middles, strict=True)
            ]
        )

    proof("hcml, within", "images one by one", abs(hcml._intra(grouped, turn) - term(turn)), 1e-12)
    slope, h = np.zeros((3, 3)), 1e-6
    for i, j in np.ndindex(3, 3):
        move = np.zeros((3, 3))
        move[i, j] = h
        slope[i, j] = (term(turn + move) - term(turn - move)) / (2 * h)
    error = np.abs(hcml._intra_slope(grouped, turn) - slope).max()
    proof("hcml, slope within", "central differences", error, 1e-7)


def test_exchanging_the_modalities_exchanges_the_projections(proof):
    x, lx, z, lz = cases.people(6, 7, 3, 8)
    forth = hcml.learn(x, lx, z, lz)
    back = hcml.learn(z, lz, x, lx)
    expected = distances(forth, x, z)
    error = np.abs(distances(back, z, x).T - expected).max() / expected.max()
    proof("hcml, exchanged, relative", "the same before", error, 1e-7)
    lopsided = hcml.learn(x, lx, z, lz, AS_CODE), hcml.learn(z, lz, x, lx, AS_CODE)
    assert np.abs(distances(lopsided[1], z, x).T - distances(lopsided[0], x, z)).max() > 1e-6


def test_order_names_and_turns_change_nothing(proof):
    x, lx, z, lz = cases.people(7, 7, 3, 8)
    x, lx = x[:-2], lx[:-2]  # unequal numbers
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    p, q = rng.permutation(len(x)), rng.permutation(len(z))
    expected = distances(hcml.learn(x, lx, z, lz), x, z)
    others = {
        "permuted": distances(hcml.learn(x[p], lx[p], z[q], lz[q]), x, z),
        "renamed": distances(hcml.learn(x, 50 - 3 * lx, z, 50 - 3 * lz), x, z),
        "turned": distances(hcml.learn(x @ turn, lx, z @ turn, lz), x @ turn, z @ turn),
        "moved": distances(hcml.learn(x + 5, lx, z + 5, lz), x + 5, z + 5),
    }
    for name, found in others.items():
        error = np.abs(found - expected).max() / expected.max()
        proof(f"hcml, {name}, relative", "the same before", error, 1e-6)


def misleading(seed, identities, each=4):
    """Two directions tell people; another has a gap of the modalities and much noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    centres = rng.normal(size=(identities, 3))
    sides = []
    for shift in (-0.3, 0.3):
        told = centres[labels] + 0.2 * rng.normal(size=(len(labels), 3))
        noise = shift + 1.5 * rng.normal(size=(len(labels), 5))
        sides.append(np.concatenate([told, noise], axis=1) / 3)
    return sides[0], labels, sides[1], labels


def test_it_finds_people_whom_the_plain_distance_mixes_up():
    x, lx, z, lz = misleading(8, 40)
    half = lx < 30
    found = hcml.learn(x[half], lx[half], z[half], lz[half])
    x, lx, z, lz = x[~half], lx[~half], z[~half], lz[~half]
    plain, learned = (
        np.mean(lz[table.argmin(1)] == lx) for table in (squares(x, z), distances(found, x, z))
    )
    assert plain < 0.5 and learned > plain + 0.2, (plain, learned)


def test_rounds_lower_the_objectives():
    x, lx, z, lz = misleading(9, 20)
    settings = hcml.Settings(rounds=60)
    history = hcml.alternate(Side(x, lx), Side(z, lz), settings)[2]
    total = [r.cross + settings.intra * sum(r.intra) for r in history]
    assert total[-1] < total[0] - 0.05 and history[-1].cross < history[0].cross
    assert history[-1].rank < 8  # directions of noise are given up


def test_what_cannot_be_learned_is_refused():
    x, lx, z, lz = cases.people(1, 5, 4, 3)
    with pytest.raises(ValueError, match="hcml.*0 are seen in both"):
        hcml.learn(x, lx, z, lz + 50)
    with pytest.raises(ValueError, match="the same people in both"):
        hcml.learn(x[4:], lx[4:], z, lz, AS_CODE)
    assert np.isfinite(hcml.learn(x[4:], lx[4:], z, lz).visible).all()
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="unit length"):
        hcml.learn(1e80 * x, lx, 1e80 * z, lz)
    for change, said in (
        ({"dims": 0}, "hcml.dims is 0; choose 1 or more"),
        ({"rate": -0.1}, "hcml.rate is -0.1; choose 0 or more"),
        ({"infrared_step": "own"}, "choose mirrored or as_code"),
    ):
        with pytest.raises(ValueError, match=said):
            hcml.Settings(**change)


def test_features_that_never_vary_are_left_out():
    x, lx, z, lz = cases.people(2, 6, 3, 4)
    padded = [np.concatenate([side, np.ones((len(side), 3))], axis=1) for side in (x, z)]
    found = hcml.learn(padded[0], lx, padded[1], lz)
    assert np.abs(found.visible[4:]).max() < 1e-9
    plain = distances(hcml.learn(x, lx, z, lz, hcml.Settings(dims=3)), x, z)
    same = distances(hcml.learn(padded[0], lx, padded[1], lz, hcml.Settings(dims=3)), *padded)
    np.testing.assert_allclose(same, plain, atol=1e-8)
