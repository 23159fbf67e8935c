"""Training on two modalities: what a step draws, how images are lowered, what is read again."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.ce2l import SWEEPS, get_config
from jaxreid import sweep
from jaxreid.data import augment
from jaxreid.stages import embedding, modal
from jaxreid.stages.modal_batches import batches
from jaxreid.stages.modal_turn import Settings, augmented
from jaxreid.stages.sets import Generated

SETTINGS = Settings(**get_config("tiny").modal.to_dict())


def people(visible, thermal, size=(32, 16)):
    """Images of persons 10, 11, ..., so many of each modality."""
    pids = 10 + np.arange(len(visible))
    modalities = np.repeat([0, 1], [sum(visible), sum(thermal)])
    pids = np.concatenate([np.repeat(pids, visible), np.repeat(pids, thermal)])
    return SimpleNamespace(pids=pids, modalities=modalities, size=size)


@pytest.mark.parametrize("form", ["", "paired", "pool", "ratio"])
def test_rows_show_one_person_in_both_modalities(form):
    real = people([3, 2, 1, 4, 2], [2, 2, 3, 1, 1])
    draw = batches(real, replace(SETTINGS, batch=4, form=form), seed=0)
    shares = []
    for step in range(60):
        sides = draw(step)
        labels = sides[0].people
        assert len(np.unique(labels)) == 4  # different people
        for modality, side in enumerate(sides):
            assert len(side.rows) == len(side.converted) == len(labels)
            np.testing.assert_array_equal(side.people, labels)
            np.testing.assert_array_equal(real.pids[side.rows], 10 + labels)
            # A converted image was made from one of the other modality.
            expected = modality ^ side.converted
            np.testing.assert_array_equal(real.modalities[side.rows], expected)
            shares.append(side.converted.mean())
    share = {"": 0, "paired": 0.5, "ratio": 0.25}
    if form == "pool":
        assert 0.4 < np.mean(shares) < 0.6
    else:
        assert set(shares) == {share[form]}
    again = batches(real, replace(SETTINGS, batch=4, form=form), seed=0)
    for first, second in zip(draw(7), again(7), strict=True):
        jax.tree.map(np.testing.assert_array_equal, first, second)


def test_converted_images_join_the_very_images_they_were_made_from():
    real = people([3, 2, 4], [2, 3, 2])
    plain, paired = (
        batches(real, replace(SETTINGS, batch=2, form=form), seed=3) for form in ("", "paired")
    )
    for step in range(10):
        alone, both = plain(step), paired(step)
        for own, side, other in zip(alone, both, alone[::-1], strict=True):
            np.testing.assert_array_equal(np.repeat(own.people, 2), side.people)
            pairs = np.stack([own.rows, other.rows], axis=1)
            np.testing.assert_array_equal(side.rows, pairs.ravel())


@pytest.mark.parametrize("form", ["paired", "ratio"])
def test_shards_have_converted_images_alike(form):
    real = people([2] * 8, [1] * 8)
    settings = replace(SETTINGS, batch=8, form=form, converted_people=4)
    for side in batches(real, settings, seed=0)(0):
        assert set(side.converted.reshape(4, -1).mean(axis=1)) == {0.5}


def test_strangers_are_drawn_without_regard_to_the_visible_people():
    real = people([3, 2, 1, 4, 2], [2, 2, 3, 1, 1])
    draw = batches(real, replace(SETTINGS, batch=4, form="", strangers=3), seed=0)
    met = []
    for step in range(300):
        visible, thermal = draw(step)
        assert visible.people[0] == thermal.people[0]
        assert len(np.unique(visible.people)) == 4
        for modality, side in enumerate((visible, thermal)):
            np.testing.assert_array_equal(real.pids[side.rows], 10 + side.people)
            np.testing.assert_array_equal(real.modalities[side.rows], modality)
        met.append((visible.people == thermal.people)[1:])
    assert 0.15 < np.mean(met) < 0.25  # one in five people


def test_everybody_and_every_image_is_drawn():
    real = people([3, 2, 1, 4], [2, 2, 3, 1])
    draw = batches(real, replace(SETTINGS, batch=2, form=""), seed=0)
    rows = np.concatenate([side.rows for step in range(100) for side in draw(step)])
    assert np.unique(rows).tolist() == list(range(len(real.pids)))


def test_jitter_leaves_infrared_images_grey():
    images = np.repeat(np.random.default_rng(0).integers(0, 200, (3, 32, 16, 1), np.uint8), 3, -1)
    for infrared in (True, False):
        made = augmented(jax.random.key(0), images, replace(SETTINGS, jitter=0.3), infrared)
        assert made.shape == (3, *SETTINGS.size, 3)
        assert bool((np.ptp(np.asarray(made), axis=-1) < 1e-6).all()) == infrared


def test_one_number_is_the_offset_of_rows_and_columns_in_bdtrs_code():
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, (256, 256)), indexing="ij"), -1)
    many = jnp.repeat(places[None].astype(jnp.float32), 400, 0)
    corners = np.asarray(augment.diagonal_crop(jax.random.key(0), many, (227, 227))[:, 0, 0])
    assert (corners[:, 0] == corners[:, 1]).all()
    assert np.unique(corners).tolist() == list(range(29))  # 0 to 28, never 29
    free = np.asarray(augment.random_crop(jax.random.key(0), many, (227, 227))[:, 0, 0])
    assert (free[:, 0] != free[:, 1]).any() and free.max() == 29
    with pytest.raises(ValueError, match="cannot crop"):
        augment.diagonal_crop(jax.random.key(0), many[:1, :200], (227, 227))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"net": "vgg"}, "modal.net is 'vgg'"),
        ({"form": "mixed"}, "modal.form is 'mixed'"),
        ({"crop_mode": "centre"}, "modal.crop_mode is 'centre'"),
        ({"kept": 4}, "modal.kept is 4 and modal.steps 4"),
        ({"form": "ratio", "converted_people": 4}, "modal.converted_people is 4"),
        ({"fc6": "none"}, "modal.fc6 is 'none'"),
        ({"strangers": 2}, "modal.strangers is 2: choose 0, or 1 to 3"),
        ({"form": "", "strangers": 4}, "modal.strangers is 4: choose 0, or 1 to 3"),
        ({"net": "one_stream", "pretrained": "x"}, "modal.pretrained is given, but one_stream"),
    ],
)
def test_settings_that_nothing_stands_behind_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch": 4}, "modal.batch is 4, but there are 3 training people"),
        ({"batch": 1}, "modal.batch is 1"),
        ({"size": (40, 14)}, "modal.size is .40, 14., cropped from images of .32, 16."),
        ({"net": "alexnet"}, "settings under modal make no network. AlexNet takes 227x227"),
    ],
)
def test_what_cannot_be_trained_is_refused(fields, message):
    data = SimpleNamespace(train=people([1, 1, 1], [1, 1, 1]))
    with pytest.raises(ValueError, match=message):
        modal.require(replace(SETTINGS, **{"batch": 2, **fields}), data)


@pytest.mark.parametrize(
    ("scale", "depth", "width", "count"),
    [("paper", 50, 64, 23_517_568), ("demo", 18, 16, None)],
)
def test_the_resnet_of_the_sweep_has_the_width_of_its_scale(scale, depth, width, count):
    row = sweep.configs(get_config(scale), SWEEPS["net"])["resnet"]["modal"]
    settings = Settings(**row)
    assert (settings.net, settings.depth) == ("resnet", depth)
    images = jax.ShapeDtypeStruct((2, *settings.size, 3), jnp.float32)
    build = modal.build(settings, 206).init_with_output
    outputs, variables = jax.eval_shape(build, jax.random.key(0), images, images)
    params = dict(variables["params"])
    assert params["visible"]["conv1"]["kernel"].shape[-1] == width
    assert outputs["test"].shape == (4, width * (32 if depth == 50 else 8))
    params.pop("head")
    assert count in (None, sum(leaf.size for leaf in jax.tree.leaves(params)))


@pytest.mark.parametrize("fill", [True, False])
def test_the_last_batch_is_filled_up_or_left_as_it_is(fill):
    seen = []

    def look(rows):
        seen.append(rows.tolist())
        return rows * 10

    found = embedding.by_batches(look, np.array([4, 5, 6, 7, 8]), 3, fill)
    assert found.tolist() == [40, 50, 60, 70, 80]
    assert seen == [[4, 5, 6], [7, 8, 7] if fill else [7, 8]]


def test_batch_statistics_at_test_are_those_of_the_images_themselves(quick_compiler):
    settings = replace(SETTINGS, batch=4, fc6_bn_eval="batch")
    net = modal.build(settings, 3)
    variables = modal._fresh(net, settings.size, jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (13, *settings.size, 3), np.uint8)
    split = SimpleNamespace(modalities=np.arange(13) % 2, images=lambda rows: images[rows])
    split.resized = lambda size: split
    found = modal._embed(net, lambda: variables, settings, split)
    for modality, name, last in ((0, "visible", 3), (1, "thermal", 2)):
        rows = np.flatnonzero(split.modalities == modality)[-last:]
        alone = modal._look(net, variables, images[rows], name)
        np.testing.assert_allclose(found[rows], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (("b", "a"), "converted image 0 was made of b, but training image 0 is a: .* order"),
        (("a",), "converted image 1 was made of nothing, but training image 1 is b"),
        (("a", "b", "c"), "made of c, but training image 2 is nothing"),
    ],
)
def test_converted_images_of_other_rows_are_refused(tmp_path, sources, message):
    data = SimpleNamespace(train=SimpleNamespace(names=("a", "b")))
    made = Generated(SimpleNamespace(sources=sources), "x", "modalities")
    with pytest.raises(ValueError, match=message):
        modal.train(tmp_path, data, "x", SETTINGS, seed=0, every=None, generated=made)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_there_are_refused():
    data = SimpleNamespace(train=people([1, 1, 1], [1, 1, 1]))
    with pytest.raises(FileNotFoundError, match="modal.pretrained is 'none.npz': no such file"):
        modal.require(replace(SETTINGS, batch=2, pretrained="none.npz"), data)
