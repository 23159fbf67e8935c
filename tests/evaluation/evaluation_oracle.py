"""Slow retrieval scores straight from the definitions: float64, one query at a time, full sort."""

import itertools

import numpy as np

from jaxreid.evaluation import Embedded, Protocol


def visible(query, i, gallery, protocol):
    same = gallery.pids == query.pids[i]
    camera = gallery.cameras == query.cameras[i]
    hidden = {
        "same_id_same_camera": same & camera,
        "same_camera": camera,
        "sysu": np.isin(query.cameras[i], [2, 3]) & (gallery.cameras == query.cameras[i] - 1),
        "none": np.zeros(len(gallery), bool),
    }[protocol.mask]
    return ~hidden & ~np.isin(gallery.pids, protocol.junk_pids)


def distances_to(query, i, gallery, normalize):
    q, g = query.embeddings[i].astype(np.float64), gallery.embeddings.astype(np.float64)
    if normalize:
        q, g = q / np.linalg.norm(q), g / np.linalg.norm(g, axis=1, keepdims=True)
    return ((g - q) ** 2).sum(axis=1)


def ranked_rows(query, i, gallery, protocol, distances=None):
    """Visible gallery rows, nearest first, matches first among equals."""
    rows = np.flatnonzero(visible(query, i, gallery, protocol))
    given = distances is not None
    d = distances[i] if given else distances_to(query, i, gallery, protocol.normalize)
    return sorted(rows, key=lambda row: (d[row], gallery.pids[row] != query.pids[i], row))


def score_query(query, i, gallery, protocol, distances=None):
    """(positives, cmc, ap, ap_trapezoid, inp) of one query, or None without a match."""
    rows = ranked_rows(query, i, gallery, protocol, distances)
    hits = [gallery.pids[row] == query.pids[i] for row in rows]
    total = sum(hits)
    if not total:
        return None
    step = area = inp = 0.0
    found, first, limit = 0, None, protocol.rank_truncate or len(rows)
    for position, hit in enumerate(hits[:limit], start=1):
        if hit:
            before = found / (position - 1) if position > 1 else 1.0
            found += 1
            first = first or position
            step += found / position
            area += (before + found / position) / 2
            inp = found / position if found == total else 0.0
    cmc = np.zeros(50)
    if first:
        cmc[first - 1 :] = 1
    if protocol.cmc == "identity":
        names = [gallery.pids[row] for row in rows]
        distinct = list(dict.fromkeys(names))
        cmc = (np.arange(50) >= distinct.index(query.pids[i])).astype(float)
    if protocol.cmc == "single_shot":
        cmc = every_draw(query, i, gallery, rows)
    return total, cmc, step / total, area / total, inp


def every_draw(query, i, gallery, rows):
    """CMC averaged over all ways to draw one visible picture of each identity."""
    places = {pid: [] for pid in gallery.pids[rows]}
    for place, row in enumerate(rows):
        places[gallery.pids[row]].append(place)
    own = places.pop(query.pids[i])
    cmc = np.zeros(50)
    draws = list(itertools.product(own, *places.values()))
    for mine, *others in draws:
        cmc[sum(other < mine for other in others) :] += 1
    return cmc / len(draws)


def score_all(query, gallery, protocol, distances=None):
    each = [score_query(query, i, gallery, protocol, distances) for i in range(len(query))]
    valid = [scores for scores in each if scores]
    total = len(valid) if protocol.empty_query == "drop" else len(each)
    means = (
        [sum(scores[field] for scores in valid) / total for field in (1, 2, 3, 4)] if valid else []
    )
    return len(valid), means


def reranked(query, gallery, protocol):
    """Re-ranked distances [Q, G]: all pairs, set by set, dense weights; inf for junk left out."""
    rules = protocol.reranking
    kept = rules.include_junk | ~np.isin(gallery.pids, protocol.junk_pids)
    x = np.concatenate([query.embeddings, gallery.embeddings[kept]]).astype(np.float64)
    if protocol.normalize:
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    n = len(x)
    d = np.stack([((x - row) ** 2).sum(axis=1) for row in x])
    d = d / np.maximum(d.max(axis=1, keepdims=True), 1e-300)
    order = [sorted(range(n), key=lambda j: (j != i, d[i, j], j)) for i in range(n)]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    weights = np.zeros((n, n))
    for i in range(n):
        near = reciprocal(i, rules.k1)
        members = set(near)
        for candidate in near:
            further = reciprocal(candidate, int(np.around(rules.k1 / 2)))
            if len(further & near) > 2 / 3 * len(further):
                members |= further
        for j in members:
            weights[i, j] = np.exp(-d[i, j])
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.stack([weights[order[i][: rules.k2]].mean(axis=0) for i in range(n)])
    found = np.full((len(query), len(gallery)), np.inf)
    q = len(query)
    for i in range(q):
        common = np.minimum(weights[i], weights[q:]).sum(axis=1)
        jaccard = 1 - common / np.maximum(weights[i], weights[q:]).sum(axis=1)
        found[i, kept] = (1 - rules.weight) * jaccard + rules.weight * d[i, q:]
    return found


def random_pictures(rng, n, *, people=6, cameras=4, dimensions=3):
    """Integer embeddings: distances are exact, and many are equal. People -1 (junk) and 0 occur."""
    embeddings = rng.integers(-2, 3, (n, dimensions)).astype(np.float32)
    return Embedded(embeddings, rng.integers(-1, people, n), rng.integers(1, cameras + 1, n))


def random_problem(rng, *, queries=6, gallery=25, **fields):
    """A query set and a gallery of random size, whose embeddings are not all equal."""
    query = random_pictures(rng, rng.integers(1, queries + 1), **fields)
    while True:
        found = random_pictures(rng, rng.integers(2, gallery + 1), **fields)
        if (found.embeddings != found.embeddings[0]).any():
            return query, found


def random_protocol(rng, **fixed):
    cmc = fixed.pop("cmc", None) or str(rng.choice(["image", "identity", "single_shot"]))
    fields = {
        "mask": str(rng.choice(["same_id_same_camera", "same_camera", "sysu", "none"])),
        "junk_pids": [(-1,), (), (-1, 0)][rng.integers(3)],
        "empty_query": str(rng.choice(["drop", "zero"])),
        "rank_truncate": int(rng.integers(1, 9)) if cmc == "image" and rng.random() < 0.4 else None,
        "normalize": False,
    }
    return Protocol(cmc=cmc, **(fields | fixed))


def placed(distances):
    """Unit embeddings whose distances order like the rows of ``distances``: (queries, gallery)."""
    distances = np.asarray(distances, np.float64)
    n = len(distances)
    inner = 0.9 / np.sqrt(n) * (1 - distances.T / distances.max())
    filler = np.sqrt(1 - (inner**2).sum(axis=1, keepdims=True))
    return np.eye(n, n + 1), np.concatenate([inner, filler], axis=1)


def peer_problem(seed, *, queries, gallery, people, cameras):
    """The inputs that `golden/evaluation_peers.json` holds other toolkits' scores of."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(-20, 21, (people, 32))

    def pictures(n, first):
        pids = rng.integers(first, people, n)
        embeddings = centres[pids] + rng.integers(-40, 41, (n, 32))
        return Embedded(embeddings.astype(np.float32), pids, rng.integers(1, cameras + 1, n))

    query, found = pictures(queries, 1), pictures(gallery, 0)
    junk = Embedded(
        found.embeddings, np.where(rng.random(gallery) < 0.1, -1, found.pids), found.cameras
    )
    return query, junk


def sysu_problem(seed, *, people=18):
    """Probes, gallery pool and permutations in SYSU-MM01's form, for `evaluation_sysu.json`.

    Person p - 1 of a camera has ``[10, n]`` permutations; every third person is not tested, some
    are not seen by some cameras, and few are seen indoors. Rows are sorted by camera and person.
    """
    rng = np.random.default_rng(seed)
    tested = np.arange(people) % 3 > 0
    seen = rng.random((6, people)) < np.array([0.6, 0.6, 0.9, 0.9, 1.0, 1.0])[:, None]
    infrared = np.isin(np.arange(6), (2, 5))
    sizes = np.where(infrared[:, None], rng.integers(2, 5, seen.shape), 10 + seen.cumsum(1) % 5)
    sizes = np.where(seen, sizes, 0)
    permutations = [
        [np.array([rng.permutation(n) + 1 for _ in range(10)]).reshape(10, n) for n in row]
        for row in sizes
    ]
    centres = rng.integers(-100, 101, (people, 16))
    cameras, pids = (np.repeat(values.ravel(), sizes.ravel()) for values in np.indices(sizes.shape))
    embeddings = centres[pids] + rng.integers(-250, 251, (len(pids), 16))
    pictures = Embedded(embeddings.astype(np.float32), pids + 1, cameras)
    probes, pool = tested[pids] & infrared[cameras], tested[pids] & ~infrared[cameras]
    return pictures, pictures.take(probes), pictures.take(pool), permutations


def sysu_galleries(gallery, cameras, shots, permutations):
    """The galleries of ten trials, picture by picture."""
    trials = []
    for trial in range(10):
        rows = []
        for camera in cameras:
            for pid in sorted(set(gallery.pids.tolist())):
                own = [
                    row
                    for row in range(len(gallery))
                    if gallery.pids[row] == pid and gallery.cameras[row] == camera
                ]
                order = permutations[camera][pid - 1][trial]
                rows += [own[place - 1] for place in order[:shots]]
        trials.append(sorted(rows))
    return trials
