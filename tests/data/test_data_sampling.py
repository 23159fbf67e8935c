import threading

import numpy as np
import pytest

from jaxreid.data import companions, pk, prefetch, shuffled, stream, unpaired


def test_shuffled_is_the_permutation_of_seed_and_epoch():
    plan = shuffled(10, 3, seed=5)
    assert plan.steps_per_epoch == 3
    for step in range(7):
        order = np.random.default_rng((5, step // 3)).permutation(10)
        expected = order[step % 3 * 3 : step % 3 * 3 + 3]
        np.testing.assert_array_equal(plan(step), expected)


def test_a_batch_depends_on_its_step_alone():
    there = [shuffled(10, 3, (1, 2))(step).tolist() for step in range(9)]
    back = [shuffled(10, 3, (1, 2))(step).tolist() for step in reversed(range(9))]
    assert there == back[::-1]
    assert there != [shuffled(10, 3, (1, 3))(step).tolist() for step in range(9)]


def test_stream_joins_permutations_without_a_seam():
    plan = stream(7, 3, seed=1)
    epochs = [np.random.default_rng((1, epoch)).permutation(7) for epoch in range(4)]
    got = np.concatenate([plan(step) for step in range(8)])
    np.testing.assert_array_equal(got, np.concatenate(epochs)[:24])
    assert plan.steps_per_epoch == 2


def test_pk_draws_p_identities_with_k_pictures_each():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [1, 2, 3, 4, 10]))
    plan = pk(labels, p=2, k=4, seed=3)
    assert plan.steps_per_epoch == 20 // 8
    for step in range(30):
        rows = plan(step).reshape(2, 4)
        who = labels[rows]
        assert (who == who[:, :1]).all() and who[0, 0] != who[1, 0]
        for row, identity in zip(rows, who[:, 0], strict=True):
            times = np.unique(row, return_counts=True)[1]
            assert len(times) == min(4, (labels == identity).sum())  # as many as there are
            assert times.max() - times.min() <= 1  # repeated evenly
        np.testing.assert_array_equal(plan(step), pk(labels, 2, 4, 3)(step))


def test_pk_uses_up_the_identities_before_it_repeats_one():
    labels = np.repeat(np.arange(6), 4)
    plan = pk(labels, p=2, k=2, seed=0)
    for start in (0, 3, 6):
        seen = np.concatenate([labels[plan(start + i)] for i in range(3)])
        assert sorted(set(seen)) == list(range(6))


def test_unpaired_shuffles_a_and_draws_b():
    plan = unpaired(4, 9, 2, seed=(7, 0))
    assert plan.steps_per_epoch == 4  # the larger set sets the epoch
    draws = [plan(step) for step in range(1000)]
    a, b = (np.concatenate([draw[side] for draw in draws]) for side in (0, 1))
    np.testing.assert_array_equal(np.sort(a.reshape(-1, 4)), np.tile(np.arange(4), (500, 1)))
    share = np.bincount(b, minlength=9) / len(b)
    assert np.abs(share - 1 / 9).max() < 0.03  # 4 standard deviations


@pytest.mark.parametrize("draw", [shuffled, stream, lambda n, b, s: unpaired(9, n, b, s)])
def test_batches_larger_than_the_set_are_refused(draw):
    with pytest.raises(ValueError, match="A batch of 4 cannot be drawn from 3 pictures"):
        draw(3, 4, 0)


def test_too_few_identities_for_pk():
    with pytest.raises(ValueError, match="3 identities per batch .* only 2"):
        pk(np.array([0, 0, 1]), 3, 2, 0)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("start", "stop"), [(0, 7), (5, 6), (4, 4)])
def test_prefetch_yields_every_step_in_order(workers, start, stop):
    got = list(prefetch(lambda step: {"square": step**2}, start, stop, workers))
    assert got == [(step, {"square": step**2}) for step in range(start, stop)]


def test_prefetch_stays_within_its_bound():
    started = []
    batches = prefetch(lambda step: started.append(step) or {}, 0, 100, workers=2, ahead=3)
    for step, _ in batches:
        assert len(started) <= step + 1 + 3
        if step == 20:
            break
    batches.close()
    assert max(started) <= 20 + 3


def test_prefetch_names_the_step_that_failed():
    def batch(step):
        if step == 2:
            raise KeyError("image")
        return {}

    batches = prefetch(batch, 0, 9)
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(KeyError) as raised:
        next(batches)
    assert raised.value.__notes__ == ["This happened while loading the batch of step 2."]


def test_closing_prefetch_leaves_no_thread_behind():
    batches = prefetch(lambda step: {}, 0, 1000)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if "prefetch" in thread.name]


NAMES = tuple(f"real_{i}.png" for i in range(6))
MADE = ([n for n in NAMES for _ in range(4)], np.tile(np.arange(4), 6))  # 4 styles of each


@pytest.mark.parametrize("each", [1, 2, 6])
def test_companions_are_made_from_the_very_pictures_of_the_step(each):
    real = shuffled(6, 3, 0)
    draw = companions(real, NAMES, MADE, [(0, 1), (2, 3)], each=each, steps=10, seed=2)
    for step in range(10):
        rows = draw(step)
        assert rows.shape == (3 * each,)
        sources = [NAMES.index(MADE[0][row]) for row in rows]
        assert sources == real(step).tolist() * each
        styles = MADE[1][rows].reshape(each, 3)
        active = 2 if step < 5 else 4
        assert styles.max() < active
        assert all(len(set(column)) == min(each, active) for column in styles.T)


def test_companions_draw_every_active_style_alike():
    real = shuffled(6, 6, 0)
    draw = companions(real, NAMES, MADE, [(0, 2), (1,)], each=1, steps=2000, seed=0)
    early, late = (
        np.concatenate([MADE[1][draw(s)] for s in r]) for r in (range(200), range(1000, 1200))
    )
    assert np.allclose(np.bincount(early, minlength=4) / 1200, [0.5, 0, 0.5, 0], atol=0.05)
    assert np.allclose(np.bincount(late, minlength=4) / 1200, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.05)


def test_a_picture_without_companion_is_named():
    made = (MADE[0][4:], MADE[1][4:])
    with pytest.raises(ValueError, match=r"1 of 6 real .* \[0, 1\], the first is real_0.png"):
        companions(shuffled(6, 3, 0), NAMES, made, [(0, 1)], each=1, steps=10, seed=2)
