"""The losses as slow loops over Python numbers, written from the specifications and docstrings.

Each takes float64 arrays. `where` is a list of booleans; rows without it are never touched, so
they may hold NaN. The losses of images are in `losses_oracle_images`.
"""

from math import exp, inf, log, log1p, sqrt

import numpy as np


def distance(a, b):
    return sqrt(max(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)), 1e-12))


def pairwise_distance(x, y, squared=False):
    table = np.zeros((len(x), len(y)))
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            square = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
            table[i, j] = square if squared else sqrt(max(square, 1e-12))
    return table


def hinge(positive, negative, margin):
    gap = positive - negative
    return log1p(exp(gap)) if margin == "soft" else max(0.0, margin + gap)


def triplet(x, labels, margin, include_anchor=True, where=None):
    keep = [True] * len(x) if where is None else where
    values = np.zeros(len(x))
    for i in (i for i in range(len(x)) if keep[i]):
        far, near = [], []
        for j in (j for j in range(len(x)) if keep[j]):
            if labels[j] != labels[i]:
                near.append(distance(x[i], x[j]))
            elif i != j:
                far.append(distance(x[i], x[j]))
            elif include_anchor:
                far.append(1e-6)
        if far and near:
            values[i] = hinge(max(far), min(near), margin)
    return values


def seen(rows, labels, where):
    return [(rows[j], labels[j]) for j in range(len(rows)) if where is None or where[j]]


def ranking(anchors, labels, where, positives, negatives, margin, which="hardest"):
    """One value per anchor; positives and negatives are lists of (row, label)."""
    values = np.zeros(len(anchors))
    for i in range(len(anchors)):
        if where is not None and not where[i]:
            continue
        far = [distance(anchors[i], row) for row, label in positives if label == labels[i]]
        near = [distance(anchors[i], row) for row, label in negatives if label != labels[i]]
        if far and near:
            used = [max(far)] if which == "hardest" else far
            values[i] = sum(hinge(d, min(near), margin) for d in used)
    return values


def fake_triplet(
    real, labels, fake, fake_labels, margin, negatives="real", real_where=None, fake_where=None
):
    pools = {"real": seen(real, labels, real_where), "fake": seen(fake, fake_labels, fake_where)}
    pools["all"] = pools["real"] + pools["fake"]
    return ranking(real, labels, real_where, pools["fake"], pools[negatives], margin)


def cross_modality(v, vy, t, ty, margin, positives="hardest", v_where=None, t_where=None):
    v_seen, t_seen = seen(v, vy, v_where), seen(t, ty, t_where)
    return (
        ranking(v, vy, v_where, t_seen, t_seen, margin, positives),
        ranking(t, ty, t_where, v_seen, v_seen, margin, positives),
    )


def mine_pairs(anchors, labels, others, other_labels, where=None):
    """The first of equals; distances that differ by rounding alone count as equal."""
    found = []
    for anchor, label in zip(anchors, labels, strict=True):
        far, near = (-inf, -1), (inf, -1)
        for j in (j for j in range(len(others)) if where is None or where[j]):
            d = distance(anchor, others[j])
            if other_labels[j] == label and d > far[0] * (1 + 1e-9):
                far = d, j
            elif other_labels[j] != label and d < near[0] * (1 - 1e-9):
                near = d, j
        found.append((far[1], near[1]))
    return np.array(found).reshape(-1, 2).T


def intra_modality(x, labels, margin, pairs=None, where=None):
    if pairs is None:
        pairs = np.arange(len(x)), mine_pairs(x, labels, x, labels, where)[1]
    values = np.zeros(len(pairs[0]))
    for i, (p, k) in enumerate(zip(*pairs, strict=True)):
        if p >= 0 and k >= 0 and (where is None or where[i]):
            values[i] = max(0.0, margin - distance(x[p], x[k]))
    return values


def center(x, labels, centers, where=None):
    values = np.zeros(len(x))
    for i in range(len(x)):
        if where is None or where[i]:
            pairs = zip(x[i], centers[labels[i]], strict=True)
            values[i] = sum((p - q) ** 2 for p, q in pairs)
    return values


def contrastive(x, y, same, margin, numerics="clamped", where=None):
    values = np.zeros(len(x))
    for i in range(len(x)):
        if where is not None and not where[i]:
            continue
        gaps = [p - q for p, q in zip(x[i], y[i], strict=True)]
        square = sum(g * g for g in gaps)
        d = {
            "clamped": sqrt(max(square, 1e-12)),
            "tensorflow": sqrt(square + 1e-6),
            "pytorch": sqrt(sum((g + 1e-6) ** 2 for g in gaps)),
        }[numerics]
        values[i] = square if same[i] else max(0.0, margin - d) ** 2
    return values


def mmd(x, y, unit, estimate, where=None, other_where=None):
    sets = [[r for r, _ in seen(z, z, w)] for z, w in ((x, where), (y, other_where))]
    if not all(sets):
        return 0.0
    everyone = sets[0] + sets[1]
    apart = [distance(a, b) for i, a in enumerate(everyone) for b in everyone[:i]]
    scale = float(np.median(apart)) if unit == "median" else 1.0

    def kernel(a, b):
        square = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
        return sum(exp(-square / (2 * (q * scale) ** 2)) for q in (0.5, 1.0, 2.0))

    def within(rows):
        pairs = [
            (i, j)
            for i in range(len(rows))
            for j in range(len(rows))
            if estimate == "biased" or i != j
        ]
        return sum(kernel(rows[i], rows[j]) for i, j in pairs) / max(1, len(pairs))

    between = [kernel(a, b) for a in sets[0] for b in sets[1]]
    return within(sets[0]) + within(sets[1]) - 2 * sum(between) / len(between)


def spgan_contrastive(x, gx, y, fy, margin, pairs, role, numerics, where=None):
    def s(a, b):
        return contrastive(a, b, [True] * len(a), margin, numerics, where)

    def d(a, b):
        return contrastive(a, b, [False] * len(a), margin, numerics, where)

    siamese = (s(x, gx) + s(y, fy) + 2 * d(x, y)) / 3
    return {
        ("paper", "generators"): s(x, gx) + s(y, fy) + d(gx, y) + d(fy, x),
        ("paper", "siamese"): s(x, gx) + s(y, fy) + d(gx, y) + d(fy, x),
        ("tensorflow", "generators"): siamese,
        ("tensorflow", "siamese"): siamese,
        ("pytorch", "generators"): (s(x, gx) + s(y, fy) + 0.5 * (d(gx, y) + d(fy, x))) / 4,
        ("pytorch", "siamese"): siamese,
    }[pairs, role]


def tone(v, vy, t, ty, margin, axis, where=None):
    def unit(x):
        x = x if where is None else np.where(np.asarray(where)[:, None], x, 0)
        lines = x if axis == "features" else x.T
        lines = [[p / sqrt(max(sum(q * q for q in row), 1e-12)) for p in row] for row in lines]
        return np.array(lines) if axis == "features" else np.array(lines).T

    same = [a == b for a, b in zip(vy, ty, strict=True)]
    return 0.5 * contrastive(unit(v), unit(t), same, margin, where=where)


def softplus(z):
    return max(z, 0.0) + log1p(exp(-abs(z)))


SCORES = {  # of one real score r and one fake score f
    "lsgan_generator": lambda f: (f - 1) ** 2,
    "lsgan_discriminator": lambda r, f: 0.5 * ((r - 1) ** 2 + f**2),
    "nonsaturating_generator": lambda f: softplus(-f),
    "nonsaturating_discriminator": lambda r, f: 0.5 * (softplus(-r) + softplus(f)),
    "minimax_generator": lambda f: -softplus(f),
    "minimax_discriminator": lambda r, f: softplus(-r) + softplus(f),
    "wasserstein_generator": lambda f: -f,
    "wasserstein_critic": lambda r, f: f - r,
}


def scores(name, *arrays, where=None):
    """`where` has the leading axes of the arrays."""
    values = np.zeros(arrays[0].shape)
    for index in np.ndindex(*values.shape):
        if where is None or where[index[: where.ndim]]:
            values[index] = SCORES[name](*(a[index] for a in arrays))
    return values


def smooth_labels(labels, classes, epsilon):
    rows = []
    for label, e in zip(labels, np.broadcast_to(epsilon, len(labels)), strict=True):
        rows.append([1 - e + e / classes if k == label else e / classes for k in range(classes)])
    return np.array(rows).reshape(len(labels), classes)


def lsro_labels(labels, generated, classes):
    rows = [
        [1 / classes if z else float(k == label) for k in range(classes)]
        for label, z in zip(labels, generated, strict=True)
    ]
    return np.array(rows).reshape(len(labels), classes)


def cross_entropy(logits, targets, where=None):
    values = np.zeros(len(logits))
    for i in range(len(logits)):
        if where is None or where[i]:
            top = max(logits[i])
            norm = top + log(sum(exp(z - top) for z in logits[i]))
            values[i] = sum(q * (norm - z) for z, q in zip(logits[i], targets[i], strict=True) if q)
    return values


def mean(values, weights=None):
    """Weights over leading axes."""
    total = weight = 0.0
    for index in np.ndindex(*values.shape):
        w = 1.0 if weights is None else float(weights[index[: weights.ndim]])
        if w > 0:
            total, weight = total + w * values[index], weight + w
    return np.array(total / weight if weight else 0.0)
