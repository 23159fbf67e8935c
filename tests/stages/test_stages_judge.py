"""What the judges' scores measure, on cases with known answers; whom the judges never see."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from configs import common
from jaxreid.data import Split
from jaxreid.evaluation import Embedded
from jaxreid.stages import arms, embedding, judge, reid
from jaxreid.stages.judge import Judges, Seen, camera_scores, unified_scores
from jaxreid.stages.sets import Generated, Sets, Translators
from jaxreid.training import Every

EVERY = Every(log=1, save=100, sample=100)
SETTINGS = reid.Settings(**common.reid("tiny").to_dict())


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def slow_mean_ap(queries, pids, gallery, gallery_pids, sees):
    """Mean over queries with a match of mean_k k / rank_k among the rows that a query sees."""
    found = []
    for i, query in enumerate(unit(queries)):
        rows = [g for g in range(len(gallery)) if sees(i, g)]
        order = sorted(rows, key=lambda g: np.linalg.norm(query - unit(gallery)[g]))
        ranks = [r + 1 for r, g in enumerate(order) if gallery_pids[g] == pids[i]]
        if ranks:
            found.append(np.mean([(k + 1) / rank for k, rank in enumerate(ranks)]))
    return np.mean(found)


def random_case(seed, per_camera=2):
    """Six people in three cameras, real and translated to every other camera at random."""
    rng = np.random.default_rng(seed)
    pids, cameras = (x.ravel() for x in np.meshgrid(np.arange(3, 9), [0, 2, 3]))
    pids, cameras = np.repeat(pids, per_camera), np.repeat(cameras, per_camera)
    missing = (pids == 4) & (cameras == 2) | (pids == 5) & (cameras != 0) & (cameras != 2)
    pids, cameras = pids[~missing], cameras[~missing]
    real = Embedded(rng.normal(size=(len(pids), 5)), pids, cameras)
    sources, styles = np.nonzero(cameras[:, None] != np.array([0, 2, 3]))
    order = rng.permutation(len(sources))
    sources, styles = sources[order], np.array([0, 2, 3])[styles[order]]
    near = real.embeddings[sources] + rng.normal(size=(len(sources), 5))
    said, colours = rng.choice([0, 2, 3], len(sources)), rng.random((len(sources), 3))
    return real, Seen(near.astype(np.float32), said, colours), sources, styles


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_cameras_equal_a_slow_ranking(seed, proof):
    real, fake, sources, styles = random_case(seed)
    found = camera_scores(real, fake, sources, styles)
    pids, cameras = real.pids[sources], real.cameras[sources]
    ranked = (fake.embeddings, pids, real.embeddings, real.pids)
    expected = {
        "identity": slow_mean_ap(*ranked, lambda i, g: real.cameras[g] == styles[i]),
        "recognised": slow_mean_ap(
            *ranked, lambda i, g: real.cameras[g] == cameras[i] and g != sources[i]
        ),
        "style": np.mean(fake.said == styles),
    }
    assert found.keys() == expected.keys() and len(set(expected.values())) == 3
    error = max(abs(found[name] - expected[name]) for name in found)
    proof("judges' scores of translated images", "sorting one by one", error, 1e-6)


def test_scores_of_a_unified_style_equal_a_slow_ranking(proof):
    real, fake, sources, _ = random_case(7)
    found = unified_scores(real, fake, sources)
    pids, cameras = real.pids[sources], real.cameras[sources]
    recognised = slow_mean_ap(
        fake.embeddings,
        pids,
        real.embeddings,
        real.pids,
        lambda i, g: real.cameras[g] != cameras[i],
    )
    assert found["source_camera"] == np.mean(fake.said == cameras)
    colours = [fake.colours[cameras == camera] for camera in (0, 2, 3)]
    between = np.sqrt(np.mean([np.var([c[:, i].mean() for c in colours]) for i in range(3)]))
    apart = np.concatenate([c - c.mean(0) for c in colours])
    spreads = {"between_cameras": between, "within_cameras": np.sqrt((apart**2).mean())}
    assert {name: found[name] for name in spreads} == pytest.approx(spreads)
    error = abs(found["recognised"] - recognised)
    proof("judges' scores of a unified style", "sorting one by one", error, 1e-6)


def test_scores_do_not_depend_on_any_order():
    real, fake, sources, styles = random_case(0)
    expected = camera_scores(real, fake, sources, styles)
    order = np.random.default_rng(1).permutation(len(sources))
    mixed = Seen(*(seen[order] for seen in fake))
    assert camera_scores(real, mixed, sources[order], styles[order]) == pytest.approx(expected)
    rows = np.random.default_rng(2).permutation(len(real))
    assert camera_scores(real.take(rows), fake, np.argsort(rows)[sources], styles) == pytest.approx(
        expected
    )


def looks(pids, cameras):
    """Embeddings of people in cameras: both show, the camera more than the person."""
    return np.concatenate([np.eye(9)[pids], 2 * np.eye(4)[cameras]], axis=1).astype(np.float32)


def test_perfect_idle_and_worthless_translators_are_told_apart():
    pids, cameras = (x.ravel() for x in np.meshgrid(np.arange(8), np.arange(3)))
    pids, cameras = np.repeat(pids, 2), np.repeat(cameras, 2)
    real = Embedded(looks(pids, cameras), pids, cameras)
    sources, styles = np.nonzero(cameras[:, None] != np.arange(3))
    own = cameras[sources]

    def scores(people, seen_in):
        seen = Seen(looks(people, seen_in), seen_in, np.zeros((len(people), 3)))
        return camera_scores(real, seen, sources, styles)

    perfect = scores(pids[sources], styles)
    assert perfect == {"identity": 1.0, "recognised": 1.0, "style": 1.0}
    idle = scores(pids[sources], own)
    assert idle["style"] == 0.0 and idle["recognised"] == 1.0
    # Everybody becomes the same person: the right one for 2 of 16 gallery images. The others win
    # their ties, so those people find two images behind two.
    lost = scores(np.zeros_like(sources), styles)
    assert lost["style"] == 1.0
    assert lost["identity"] == pytest.approx((1 + 7 * np.mean([1 / 3, 2 / 4])) / 8)
    # Without itself, the one other image of a person is alone in its place.
    assert lost["recognised"] == pytest.approx((1 + 7 * 1 / 3) / 8)


def test_the_image_that_a_query_was_made_from_is_not_searched():
    pids, cameras = np.array([1, 1, 2, 2]), np.array([0, 0, 0, 0])
    real = Embedded([[1.0, 0], [0, 1.0], [0.9, 0.1], [0.1, 0.9]], pids, cameras)
    same = Seen(real.embeddings[[0]], np.array([1]), np.zeros((1, 3)))
    # Next comes the other person; with the source in the gallery it would be 1 + 2/4 over 2.
    found = camera_scores(real, same, np.array([0]), np.array([1]))
    assert found == {"recognised": pytest.approx(1 / 3), "style": 1.0}


def test_a_score_that_no_query_has_is_left_out():
    real = Embedded(np.eye(4), np.array([1, 1, 2, 2]), np.array([0, 1, 0, 1]))
    fake = Seen(real.embeddings, np.array([0, 1, 0, 1]), np.zeros((4, 3)))
    found = camera_scores(real, fake, np.arange(4), np.array([1, 0, 1, 0]))
    assert found.keys() == {"identity", "style"} and found["style"] == 0.0


@pytest.mark.parametrize("scores", [camera_scores, lambda *case: unified_scores(*case[:3])])
def test_a_judge_that_sees_no_difference_is_refused(scores):
    real, fake, sources, styles = random_case(0)
    blind = Embedded(np.ones_like(real.embeddings), real.pids, real.cameras)
    with pytest.raises(ValueError, match="embeddings are equal: the network has collapsed"):
        scores(blind, fake, sources, styles)


@dataclass
class Stored:
    """Pictures whose pixels carry a number each."""

    values: np.ndarray

    def __call__(self, numbers):
        shape = (len(numbers), 32, 16, 3)
        return np.broadcast_to(self.values[numbers, None, None, None], shape).astype(np.uint8)


def split(pids, cameras, values, styles=None, sources=None):
    n = len(pids)
    return Split(
        pids=np.asarray(pids),
        cameras=np.asarray(cameras),
        names=tuple(f"{p}_{c}_{i}" for i, (p, c) in enumerate(zip(pids, cameras, strict=True))),
        styles=np.full(n, -1) if styles is None else np.asarray(styles),
        sources=("",) * n if sources is None else tuple(sources),
        size=(32, 16),
        numbers=np.arange(n),
        pictures=Stored(np.asarray(values)),
    )


class Stub(SimpleNamespace):
    """Judges that embed a picture by its number, and count the pictures shown to them."""

    def judges(self, held):
        table = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)

        def look(images, count):
            shown = images(np.arange(count))[:, 0, 0]
            values = shown[:, 0].astype(int)
            self.shown += count
            return Seen(table[values], values % 3, shown / 255)

        return Judges(held, look, lambda: look(held.images, len(held)), "stub")


@pytest.fixture
def stub():
    return Stub(shown=0)


HELD = split([1, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 2], np.arange(10, 16))


def shifted(by):
    """Translators that add ``by`` and the target camera to the number of a picture."""

    def between(target):
        return lambda split, rows: split.images(rows) + np.uint8(by + target)

    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    return Translators({(a, b): between(b) for a, b in pairs}, f"shifted by {by}")


def written(translators, real):
    """What generating a set leaves: every image in every other style, with its source's name."""
    made = [
        (row, target, int(translate(real, np.array([row]))[0, 0, 0, 0]))
        for (source, target), translate in translators.between.items()
        for row in np.flatnonzero(real.cameras == source)
    ]
    rows, targets, values = map(np.array, zip(*made, strict=True))
    names = [real.names[row] for row in rows]
    return split(real.pids[rows], real.cameras[rows], values, targets, names)


def test_a_generated_set_is_scored_on_held_out_people_alone(stub):
    judges = stub.judges(HELD)
    expected = judge.score(judges, written(shifted(20), HELD))
    others = split([7, 7, 8], [0, 1, 0], [30, 31, 32], [1, 0, 2], ["x", "y", "z"])
    fakes = written(shifted(20), HELD)
    mixed = Split(
        **{
            name: np.concatenate([getattr(others, name), getattr(fakes, name)])
            for name in ("pids", "cameras", "styles")
        },
        names=others.names + fakes.names,
        sources=others.sources + fakes.sources,
        size=(32, 16),
        numbers=np.arange(3 + len(fakes)),
        pictures=Stored(np.concatenate([others.pictures.values, fakes.pictures.values])),
    )
    assert judge.score(judges, mixed) == expected
    assert expected.keys() == {"identity", "style"}  # no second image in any camera
    values = fakes.pictures.values
    assert expected["style"] == np.mean(values % 3 == fakes.styles)


def test_images_of_nobody_have_no_scores(stub, tmp_path):
    noise = split([-1, -1], [-1, -1], [1, 2])
    judges = stub.judges(HELD)
    assert judge.score(judges, noise) == {}
    assert judge.quality(tmp_path, judges, {"lsro": Generated(noise, "")}) == {}


def test_a_chooser_scores_in_memory_what_a_written_set_scores(stub):
    judges = stub.judges(HELD)
    choose = judge.chooser(judges)
    assert choose.made_by == judges.made_by
    found = {by: choose.score(shifted(by)) for by in (0, 20, 90)}
    for by, value in found.items():
        assert value == judge.score(judges, written(shifted(by), HELD))["identity"]
    assert len(set(found.values())) > 1


def test_translators_that_draw_larger_images_are_scored_at_the_size_of_the_set(stub):
    judges = stub.judges(HELD)
    shapes = []

    def look(images, count):
        shown = images(np.arange(count))
        shapes.append(shown.shape[1:])
        return judges.look(lambda rows: shown[rows], count)

    def doubled(translate):
        return lambda split, rows: translate(split, rows).repeat(2, axis=1).repeat(2, axis=2)

    plain = shifted(20)
    larger = plain._replace(between={pair: doubled(t) for pair, t in plain.between.items()})
    choose = judge.chooser(judges._replace(look=look))
    assert choose.score(larger) == choose.score(plain)
    assert set(shapes) == {(32, 16, 3)}


def test_quality_stands_beside_real_and_untranslated_images_and_is_worked_out_once(stub, tmp_path):
    judges = stub.judges(HELD)
    fakes = {by: Generated(written(shifted(by), HELD), f"by {by}") for by in (20, 90)}
    sets = {"camstyle": fakes[20], "truth": fakes[90]}
    found = judge.quality(tmp_path, judges, sets)
    assert list(found) == ["real", "untranslated", "camstyle", "truth"]
    assert found["camstyle"] == judge.score(judges, fakes[20].split)
    assert found["real"] == {"style": np.mean(np.arange(10, 16) % 3 == HELD.cameras)}
    idle = written(shifted(20), HELD)
    idle = replace(
        idle, pictures=Stored(np.array([10 + HELD.names.index(s) for s in idle.sources]))
    )
    assert found["untranslated"] == judge.score(judges, idle)
    stub.shown = 0
    assert judge.quality(tmp_path, judges, sets) == found and stub.shown == 0


def test_a_unified_set_is_scored_by_what_is_left_of_its_cameras(stub, tmp_path):
    unity = split(HELD.pids, HELD.cameras, np.full(6, 30), np.zeros(6, int), HELD.names)
    found = judge.quality(
        tmp_path, stub.judges(HELD), {"unity": Generated(unity, "")}, unified=True
    )
    assert found["unity"]["source_camera"] == pytest.approx(1 / 3)  # 30 is said to be camera 0
    assert found["real"] == {"source_camera": np.mean(np.arange(10, 16) % 3 == HELD.cameras)}
    assert found["untranslated"]["source_camera"] == found["real"]["source_camera"]
    for spread in ("between_cameras", "within_cameras"):
        assert found["unity"][spread] == pytest.approx(0, abs=1e-9)
    values = np.arange(10, 16).reshape(2, 3) / 255  # two people in three cameras
    idle = found["untranslated"]
    assert idle["between_cameras"] == pytest.approx(values.mean(0).std())
    assert idle["within_cameras"] == pytest.approx(1.5 / 255)


@pytest.fixture
def data():
    pids = np.repeat(np.arange(10), 4)
    cameras = np.tile([0, 0, 2, 5], 10)
    train = split(pids, cameras, np.arange(40) * 6)
    return Sets(train, train, train, None, "data")


def test_judges_learn_people_and_cameras_from_everybody_else(
    data, tmp_path, monkeypatch, quick_compiler
):
    taught, models = {}, {}

    def train(directory, lesson, name, settings, *, seed, every):
        taught[name] = lesson
        assert directory == tmp_path and settings.images_per_identity == 0 and seed == 3
        net = reid.build(settings, len(np.unique(lesson.train.pids)))
        variables = reid.initial(net, jax.random.key(len(taught)), (32, 16))
        models[name] = embedding.Model(net, variables)
        return arms.Trained(name, directory, lambda: models[name], 4, lesson.made_by)

    monkeypatch.setattr(arms, "train", train)
    settings = replace(SETTINGS, images_per_identity=2)
    judges = judge.judge(tmp_path, data, settings, seed=3, every=EVERY)
    person, camera = taught["person"].train, taught["camera"].train
    assert len(set(judges.held.pids)) == 2 and len(judges.held) == 8
    assert set(judges.held.pids) | set(person.pids) == set(range(10))
    assert not set(judges.held.pids) & set(person.pids) and person.names == camera.names
    assert np.array_equal(camera.pids, person.cameras)
    assert taught["person"].made_by != taught["camera"].made_by != data.made_by

    # Batches of 4 with a partial one at the end show what each network says of each image.
    seen = judges.look(judges.held.images, 7)
    images = judges.held.images(np.arange(7)) / np.float32(127.5) - 1
    outputs = {name: jax.jit(m.net.apply)(m.variables, images) for name, m in models.items()}
    np.testing.assert_allclose(seen.embeddings, outputs["person"]["test"], atol=1e-5)
    said = np.array([0, 2, 5])[np.argmax(outputs["camera"]["logits"], axis=1)]
    assert np.array_equal(seen.said, said)
    other = judge.judge(tmp_path, data, settings, seed=3, every=EVERY)
    assert other.made_by == judges.made_by


def test_too_few_people_for_judges_are_refused_before_training(data):
    judge.require(SETTINGS, data, seed=0)
    few = data._replace(train=data.train.take(data.train.pids < 2))
    with pytest.raises(ValueError, match=r"20% of the training people.* Or go without judges"):
        judge.require(SETTINGS, few, seed=0)
