import os
from collections import Counter

import pytest

from jaxreid.data import scan, vtest
from jaxreid.data.check import check


def test_eight_crops_of_every_tracklet_spread_over_its_time():
    crops = vtest.crops()
    assert len(crops) == 480
    assert set(Counter(crop.tracklet for crop in crops).values()) == {8}
    people = Counter(crop.person for crop in crops)
    tracklets = dict(A=12, B=8, C=10, D=12, E=2, F=6, G=3, H=1, I=5, J=1)
    assert people == {person: 8 * number for person, number in tracklets.items()}
    first = [crop.frame for crop in crops if crop.tracklet == 0]
    assert first == sorted(first) and len(set(first)) == 8


def test_names_carry_person_passage_frame_and_tracklet():
    crop = next(crop for crop in vtest.crops() if crop.tracklet == 60)
    assert crop.person == "F" and crop.passage == 26
    assert crop.name == f"0006_c27s1_{crop.frame:06d}_60.png"
    assert len({crop.name for crop in vtest.crops()}) == 480


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    pytest.importorskip("cv2")
    video = os.environ.get("JAXREID_VTEST", vtest.DEBIAN_PATH)
    if not os.path.isfile(video):
        pytest.skip("vtest.avi is not here: install opencv-doc or set JAXREID_VTEST to its path")
    root = tmp_path_factory.mktemp("vtest") / "set"
    vtest.write(root, video)
    return root


def test_the_written_set_passes_the_check(written):
    lines = check("vtest", written)
    assert not [line for line in lines if line.wrong]
    assert "published counts: ok" in [line.text for line in lines]


def test_test_people_are_queries_and_gallery(written):
    splits = scan("vtest", written)
    assert {entry.pid for entry in splits["train"]} == {1, 4, 5, 8, 10}
    assert {entry.pid for entry in splits["query"]} == {2, 3, 6, 7, 9}
    assert [e.name for e in splits["query"]] == [e.name for e in splits["gallery"]]


def test_a_folder_in_use_is_left_alone(written):
    with pytest.raises(FileExistsError, match="is not empty"):
        vtest.write(written)
