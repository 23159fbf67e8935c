"""Whole runs at scale `tiny` for the tests that look at them, sharing what they have in common."""

import pytest

from jaxreid.training.workdir import share


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """`place(name)`: a work directory, which takes over finished stages of the others.

    Worlds and rivals are the same in most systems. Tests of what a run itself does, such as
    continuing, begin in directories of their own.
    """
    root = tmp_path_factory.mktemp("runs")
    share(root)
    return lambda name: root / name
