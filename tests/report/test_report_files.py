import pytest

from jaxreid.report.files import write_atomically


def test_replaces_the_whole_file_and_makes_folders(tmp_path):
    path = tmp_path / "run" / "report.html"
    write_atomically(path, b"a long first version")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "report.html"
    folder.mkdir()
    with pytest.raises(OSError):
        write_atomically(folder, b"text")
    assert list(tmp_path.iterdir()) == [folder]
