"""Losses of images, of features and of cameras as slow loops; see `losses_oracle`."""

from math import exp, floor, log2, sqrt

import numpy as np

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def mean_absolute(x, y, where=None):
    values = np.zeros(len(x))
    for i in range(len(x)):
        if where is None or where[i]:
            terms = [abs(x[i][p] - y[i][p]) for p in np.ndindex(*x.shape[1:])]
            values[i] = sum(terms) / len(terms)
    return values


def masked_identity(x, y, mask, norm, where=None):
    values = np.zeros(len(x))
    for i in range(len(x)):
        if where is not None and not where[i]:
            continue
        m = np.broadcast_to(mask[i], x[i].shape)
        pixels = [(m[p], y[i][p] - x[i][p]) for p in np.ndindex(*x.shape[1:])]
        if norm == "mean_square":
            values[i] = sum(w * gap**2 for w, gap in pixels) / len(pixels)
        else:
            values[i] = sqrt(sum((w * gap) ** 2 for w, gap in pixels) + 1e-12)
    return values


def feature_matching(real, fake, reduce, real_where=None, fake_where=None):
    def batch_mean(layer, where):
        rows = [row for i, row in enumerate(layer) if where is None or where[i]]
        return sum(rows) / len(rows) if rows else None

    terms = []
    for a, b in zip(real, fake, strict=True):
        means = batch_mean(a, real_where), batch_mean(b, fake_where)
        if means[0] is None or means[1] is None:
            return 0.0
        terms.append(np.mean([(p - q) ** 2 for p, q in zip(*map(np.ravel, means), strict=True)]))
    return sum(terms) / (len(terms) if reduce == "mean" else 1)


def gaussian(size, sigma):
    """Weights under the window; even windows lie on -(size/2 - 1) .. size/2."""
    grid = [i - (size - 1) // 2 for i in range(size)]
    table = np.array([[exp(-(a * a + b * b) / (2 * sigma**2)) for b in grid] for a in grid])
    return table / table.sum()


def halve(image):
    """2x2 means of one channel; an edge window averages the pixels it has."""
    rows, columns = -(-image.shape[0] // 2), -(-image.shape[1] // 2)
    return np.array(
        [
            [image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(columns)]
            for i in range(rows)
        ]
    )


def maps(x, y, kernel, c1, c2, absolute):
    """(contrast-structure, luminance) at every window position of one channel of one image."""
    size = len(kernel)
    cs, lum = [], []
    for i in range(x.shape[0] - size + 1):
        for j in range(x.shape[1] - size + 1):
            a, b = (z[i : i + size, j : j + size] for z in (x, y))
            ma, mb = (kernel * a).sum(), (kernel * b).sum()
            saa, sbb = (kernel * a * a).sum() - ma * ma, (kernel * b * b).sum() - mb * mb
            sab = (kernel * a * b).sum() - ma * mb
            if absolute:
                saa, sbb, sab = abs(saa), abs(sbb), abs(sab)
            cs.append((2 * sab + c2) / (saa + sbb + c2))
            lum.append((2 * ma * mb + c1) / (ma * ma + mb * mb + c1))
    return np.array(cs), np.array(lum)


def ms_ssim(
    x,
    y,
    levels=None,
    absolute=True,
    per_image=False,
    window=8,
    sigma=1.5,
    constants=(0.03, 0.05),
    where=None,
):
    if levels is None:
        levels = min(5, 1 + floor(log2(min(x.shape[1:3]) / window)))
    kernel, (c1, c2) = gaussian(window, sigma), (k * k for k in constants)
    rows = [i for i in range(len(x)) if where is None or where[i]]
    terms = np.zeros((len(x), x.shape[3], levels))  # the mean over the map of each level
    for i in rows:
        for c in range(x.shape[3]):
            a, b = x[i, :, :, c], y[i, :, :, c]
            for level in range(levels):
                cs, lum = maps(a, b, kernel, c1, c2, absolute)
                terms[i, c, level] = (cs * lum if level == levels - 1 else cs).mean()
                a, b = halve(a), halve(b)
    if per_image:
        values = np.zeros(len(x))
        for i in rows:
            values[i] = np.mean([_product(terms[i, c]) for c in range(x.shape[3])])
        return values
    if not rows:
        return np.array(0.0)
    return np.mean([_product(terms[rows, c].mean(0)) for c in range(x.shape[3])])


def _product(means):
    value = 1.0
    for base, weight in zip(means, WEIGHTS[: len(means)], strict=True):
        value *= max(base, 0.0) ** weight
    return value


def scheduled_normalization(values, updates, beta, epsilon=1e-10):
    """The normalised losses of successive steps, and the last state."""
    average = denominator = 1.0
    results = []
    for value, update in zip(values, updates, strict=True):
        average = beta * average + (1 - beta) * value
        denominator = average if update else denominator
        results.append(value / (denominator + epsilon))
    return results, (average, denominator)


def style_weights(attention, norm, where=None):
    means = [
        float(np.mean(a)) if where is None or where[i] else 0.0 for i, a in enumerate(attention)
    ]
    total = sum(means)
    if norm == "none":
        return np.array(means)
    return np.array([m / total if total else 0.0 for m in means])


def style_unity(losses, attention, norm, where=None):
    weights = style_weights(attention, norm, where)
    return np.array(
        sum(
            w * v
            for i, (w, v) in enumerate(zip(weights, losses, strict=True))
            if where is None or where[i]
        )
    )
