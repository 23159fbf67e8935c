import numpy as np
import pytest
from PIL import Image

from jaxreid.report import figures

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(colour, height=12, width=8):
    return np.full((height, width, 3), colour, np.uint8)


def distinct(rows, cols, height=12, width=8):
    """Pictures of one colour each, all different, and their colours."""
    colours = {(r, c): (100 + r, 10 + c, 200) for r in range(rows) for c in range(cols)}
    images = [[picture(colours[r, c], height, width) for c in range(cols)] for r in range(rows)]
    return np.array(images), colours


def box(sheet, colour):
    """Top, left, bottom, right of the pixels of one colour, which must fill their box."""
    where = np.argwhere((sheet == np.array(colour)).all(-1))
    (top, left), (bottom, right) = where.min(0), where.max(0) + 1
    assert len(where) == (bottom - top) * (right - left)
    return top, left, bottom, right


@pytest.mark.parametrize("scale", [1, 3])
def test_every_picture_lies_whole_in_its_row_and_column(scale):
    images, colours = distinct(3, 4)
    sheet = figures.grid(images, ["a", "b", "c"], ["1", "2", "3", "a long label"], scale)
    boxes = {at: box(sheet, colour) for at, colour in colours.items()}
    for top, left, bottom, right in boxes.values():
        assert (bottom - top, right - left) == (12 * scale, 8 * scale)
    for r in range(3):
        assert len({boxes[r, c][0] for c in range(4)}) == 1
    for c in range(4):
        assert len({boxes[r, c][1] for r in range(3)}) == 1
    assert boxes[0, 0][2] < boxes[1, 0][0] and boxes[0, 0][3] < boxes[0, 1][1]


def test_enlargement_repeats_exact_pixels():
    image = np.random.default_rng(0).integers(1, 250, (4, 3, 3), np.uint8)
    image[0, 0], image[-1, -1] = RED, BLUE
    sheet = figures.grid(image[None, None], scale=2)
    (top, left), (bottom, right) = box(sheet, RED)[:2], box(sheet, BLUE)[2:]
    np.testing.assert_array_equal(sheet[top:bottom:2, left:right:2], image)
    np.testing.assert_array_equal(sheet[top + 1 : bottom : 2, left + 1 : right : 2], image)


def test_labels_and_captions_leave_ink_in_their_margins():
    images, colours = distinct(1, 1, 40, 40)
    bare = figures.grid(images)
    labelled = figures.grid(images, ["row"], ["column"], captions=[["caption"]])
    assert (bare[: box(bare, colours[0, 0])[0]] == 255).all()
    top, left, bottom, _ = box(labelled, colours[0, 0])
    for margin in (labelled[:top], labelled[:, :left], labelled[bottom:]):
        assert (margin < 128).any()


def test_frame_surrounds_the_picture_and_hides_none_of_it():
    images, colours = distinct(1, 2)
    sheet = figures.grid(images, frames={(0, 1): RED})
    top, left, bottom, right = box(sheet, colours[0, 1])
    ring = sheet[top - 3 : bottom + 3, left - 3 : right + 3].copy()
    ring[3:-3, 3:-3] = RED
    assert (ring == RED).all()
    assert (sheet[top, left - 4] == 255).all()
    top, left, _, _ = box(sheet, colours[0, 0])
    assert (sheet[top, left - 1] == 255).all()


def test_translation_grid_puts_source_in_rows_and_target_in_columns():
    images, colours = distinct(4, 2)  # two cameras with two pictures each
    cells = {(camera, target): images[2 * camera : 2 * camera + 2, target]
             for camera in range(2) for target in range(2)}  # fmt: skip
    real = {camera: cells[camera, camera] for camera in range(2)}
    fake = {pair: cells[pair] for pair in cells if pair[0] != pair[1]}
    sheet = figures.translation_grid(real, fake)
    boxes = {at: box(sheet, colour) for at, colour in colours.items()}
    tops = [boxes[row, 0][0] for row in range(4)]
    assert tops == sorted(set(tops)) and boxes[0, 0][1] < boxes[0, 1][1]
    for (row, col), (top, left, _, _) in boxes.items():
        framed = tuple(sheet[top - 1, left]) == figures.NEUTRAL
        assert framed == (row // 2 == col)


def test_translation_grid_leaves_missing_pairs_blank_and_takes_names():
    real = {"source": picture(RED)[None], "target": picture(BLUE)[None]}
    fake = {("source", "target"): picture((0, 255, 0))[None]}
    sheet = figures.translation_grid(real, fake)
    green, blue = box(sheet, (0, 255, 0)), box(sheet, BLUE)
    assert green[1] == blue[1] and green[0] == box(sheet, RED)[0]
    red = box(sheet, RED)
    assert (sheet[blue[0] : blue[2], red[1] : red[3]] == 255).all()


def test_ranked_list_frames_right_green_wrong_red():
    gallery, colours = distinct(1, 3)
    entry = figures.RankedList(
        "best", picture(RED), gallery[0], np.array([0.1, 0.2, 0.3]), np.array([True, False, True])
    )
    short = figures.RankedList("worst", picture(BLUE), gallery[0, :0], np.zeros(0), np.zeros(0))
    sheet = figures.ranked_lists([entry, short], scale=2)
    frames = [tuple(sheet[box(sheet, colours[0, c])[0] - 2, box(sheet, colours[0, c])[1]])
              for c in range(3)]  # fmt: skip
    assert frames == [figures.RIGHT, figures.WRONG, figures.RIGHT]
    top, left, _, right = box(sheet, RED)
    assert tuple(sheet[top - 2, left]) == figures.NEUTRAL
    assert right < box(sheet, colours[0, 0])[1]


def test_png_holds_the_exact_pixels_and_no_temporary_file(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    figures.write_sample(tmp_path, 7, image)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "samples" / "step_000007.png")), image
    )
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["step_000007.png"]


IMAGES = np.zeros((2, 3, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: figures.grid(IMAGES.astype(np.float32)), "float32"),
        (lambda: figures.grid(IMAGES[0]), r"\[3, 4, 4, 3\]"),
        (lambda: figures.grid(IMAGES[:0]), "at least one"),
        (lambda: figures.grid(IMAGES, ["one"]), "1 row labels for 2"),
        (lambda: figures.grid(IMAGES, (), ["one"]), "1 column labels for 3"),
        (lambda: figures.grid(IMAGES, scale=0), "scale"),
        (lambda: figures.grid(IMAGES, captions=[["a"]]), "captions"),
        (lambda: figures.translation_grid({}, {}), "at least one source"),
        (lambda: figures.translation_grid({0: IMAGES[0]}, {(1, 0): IMAGES[0]}), "1 has no reals"),
        (lambda: figures.translation_grid({0: IMAGES[0]}, {(0, 1): IMAGES[0, :1]}), r"\[1, 4"),
        (lambda: figures.ranked_lists([]), "at least one query"),
        (lambda: figures.write_png("a.png", IMAGES[0, 0] / 255), "a.png.*float64"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ranked_list_of_uneven_lengths_is_named():
    entry = figures.RankedList("median", IMAGES[0, 0], IMAGES[0], np.zeros(3), np.zeros(2, bool))
    with pytest.raises(ValueError, match="'median': 3 pictures, 3 distances and 2 marks"):
        figures.ranked_lists([entry])
