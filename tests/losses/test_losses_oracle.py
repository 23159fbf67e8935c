"""Every loss on distances, labels and scores against loops over Python numbers.

In float64 the agreement is exact, ties and duplicates included; in float32 (generic embeddings
only) it shows what rounding does.
"""

import losses_oracle as oracle
import numpy as np
import pytest
from losses_cases import hide, jitted

pytestmark = pytest.mark.usefixtures("quick_compiler")
NUMERICS = ("clamped", "tensorflow", "pytorch")


def test_pairwise_distance(compare):
    def body(case):
        x, y = case["clean"]
        for squared in (False, True):
            expected = oracle.pairwise_distance(x, y, squared)
            scale = max(1, np.abs(expected).max())
            result = jitted("pairwise_distance", squared=squared)(x, y)
            yield (
                f"pairwise_distance, squared={squared}, relative",
                result / scale,
                expected / scale,
            )

    compare(body)


def options(margin, **others):
    """Static and traced options: 'soft' changes the program, a number does not."""
    if margin == "soft":
        return ", soft", {"margin": margin}, others
    return "", {}, {"margin": margin} | others


def test_triplet(compare):
    def body(case):
        x, y, where = case["x"], case["labels"], case["where"]
        for anchor in (True, False):
            for margin in case["margins"]:
                name, static, traced = options(margin, where=where)
                yield (
                    f"triplet, include_anchor={anchor}{name}",
                    jitted("triplet", include_anchor=anchor, **static)(x, y, **traced),
                    oracle.triplet(x, y, margin, anchor, where),
                )

    compare(body)


def test_fake_triplet(compare):
    def body(case):
        arrays = case["x"], case["labels"], case["y"], case["other_labels"]
        wheres = {"real_where": case["where"], "fake_where": case["other_where"]}
        for negatives in ("real", "fake", "all"):
            for margin in case["margins"]:
                name, static, traced = options(margin, **wheres)
                yield (
                    f"fake_triplet, negatives={negatives!r}{name}",
                    jitted("fake_triplet", negatives=negatives, **static)(*arrays, **traced),
                    oracle.fake_triplet(*arrays, margin, negatives, *wheres.values()),
                )

    compare(body)


def test_cross_modality(compare):
    def body(case):
        arrays = case["x"], case["labels"], case["y"], case["other_labels"]
        wheres = {"visible_where": case["where"], "thermal_where": case["other_where"]}
        for positives in ("hardest", "all"):
            results = jitted("cross_modality", positives=positives)(
                *arrays, margin=case["margins"][0], **wheres
            )
            expected = oracle.cross_modality(
                *arrays, case["margins"][0], positives, *wheres.values()
            )
            yield (
                f"cross_modality, positives={positives!r}",
                np.concatenate(results),
                np.concatenate(expected),
            )

    compare(body)


def test_mine_pairs_and_intra_modality(compare):
    def body(case):
        x, y, where, margin = case["x"], case["labels"], case["where"], case["margins"][0]
        others, other_y, other_where = case["y"], case["other_labels"], case["other_where"]
        anchors = case["clean"][0]
        pairs = jitted("mine_pairs")(anchors, y, others, other_y, where=other_where)
        expected = oracle.mine_pairs(anchors, y, others, other_y, other_where)
        yield "mine_pairs", np.array(pairs), expected
        yield (
            "intra_modality, mined pairs",
            jitted("intra_modality")(others, other_y, margin=margin, pairs=pairs, where=where),
            oracle.intra_modality(others, other_y, margin, np.array(pairs), where),
        )
        yield (
            "intra_modality, without pairs",
            jitted("intra_modality")(x, y, margin=margin, where=where),
            oracle.intra_modality(x, y, margin, None, where),
        )

    compare(body)


def test_mmd(compare):
    def body(case):
        wheres = {"where": case["where"], "other_where": case["other_where"]}
        for unit in ("median", "one"):
            for estimate in ("biased", "unbiased"):
                result = jitted("mmd", unit=unit, estimate=estimate)(case["x"], case["y"], **wheres)
                expected = oracle.mmd(case["x"], case["y"], unit, estimate, *wheres.values())
                yield f"mmd, {unit!r}, {estimate!r}", result, expected

    compare(body)


def test_center(compare):
    def body(case):
        centers = case["rng"].normal(size=(4, 3)).astype(case["x"].dtype)
        arrays = case["x"], case["labels"], centers
        expected = oracle.center(*arrays, case["where"])
        scale = max(1, expected.max())
        result = jitted("center")(*arrays, where=case["where"])
        yield "center, relative", result / scale, expected / scale

    compare(body)


def pairs_of(case):
    """Four sets of embeddings, partly equal to one another."""
    where = case["where"]
    x = case["clean"][0]
    moved = [x + case["rng"].integers(0, 2, x.shape) * case["rng"].normal(size=x.shape)]
    moved += [x + 0.1 * case["rng"].normal(size=x.shape), case["rng"].permutation(x)]
    return [hide(a.astype(x.dtype), where) for a in (x, *moved)]


def test_contrastive(compare):
    def body(case):
        arrays = pairs_of(case)
        same = case["rng"].random(len(case["x"])) < 0.5
        for numerics in NUMERICS:
            for other in arrays:
                expected = oracle.contrastive(
                    arrays[0], other, same, case["margins"][0], numerics, case["where"]
                )
                result = jitted("contrastive", numerics=numerics)(
                    arrays[0], other, same, margin=case["margins"][0], where=case["where"]
                )
                yield f"contrastive, numerics={numerics!r}", result, expected

    compare(body, cases=120)


def test_tone(compare):
    def body(case):
        v, t, *_ = pairs_of(case)
        others = case["rng"].integers(0, 3, len(case["labels"]))
        for axis in ("features", "batch"):
            arrays = v, case["labels"], t, others
            yield (
                f"tone, {axis!r}",
                jitted("tone", normalize_axis=axis)(
                    *arrays, margin=case["margins"][0], where=case["where"]
                ),
                oracle.tone(*arrays, case["margins"][0], axis, case["where"]),
            )

    compare(body, cases=120)


def test_tone_by_hand():
    """3-4-5 triangles: a pair of one person, a far and a near pair of two."""
    v, t = np.array([[3.0, 4], [6, 8], [1, 0]]), np.array([[2.0, 0], [2, 0], [0.96, 0.28]])
    values = jitted("tone", margin=0.5)(v, np.array([7, 7, 7]), t, np.array([7, 1, 1]))
    near = (0.5 - 0.08**0.5) ** 2 / 2
    np.testing.assert_allclose(values, [0.4, 0, near], atol=1e-7)
    by_feature = jitted("tone", margin=0.5, normalize_axis="batch")(v, [7, 7, 7], t, [7, 1, 1])
    first = (3 / 46**0.5 - 2 / 8.9216**0.5) ** 2 + (4 / 80**0.5) ** 2
    np.testing.assert_allclose(by_feature[0], first / 2, atol=1e-7)


def test_spgan_contrastive(compare):
    def body(case):
        arrays, numerics = pairs_of(case), NUMERICS[case["rng"].integers(3)]
        for pairs in ("paper", "tensorflow", "pytorch"):
            for role in ("generators", "siamese"):
                options = {"pairs": pairs, "role": role, "numerics": numerics}
                traced = {"margin": case["margins"][0], "where": case["where"]}
                yield (
                    f"spgan_contrastive, {pairs!r}, {role!r}",
                    jitted("spgan_contrastive", **options)(*arrays, **traced),
                    oracle.spgan_contrastive(*arrays, **options, **traced),
                )

    compare(body, cases=120)
