"""Damaged files and texts, and what must become of them: a sane result or a message of ours.

``JAXREID_FUZZ=50 python -m pytest -k fuzz`` tries fifty times as many cases,
other ones in every run.
"""

import os
import re
from contextlib import contextmanager

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("JAXREID_FUZZ", "1"))
TOKENS = (
    *(
        b"../",
        b"/",
        b"\0",
        b"0",
        b"\n",
        b" ",
        b"\xff\xfe",
        "\u0663".encode(),
        b"-1",
        b"0",
        b"1",
        b":",
    ),
    *(b"9" * 30, b"9" * 5000, b"1e999", b"NaN", b"null", b'"', b"[]", b"{}", b"[" * 5000, b","),
    *(b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x7f", b"\0" * 8),
)


def fuzz(examples):
    """The settings of a test of so many cases."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        phases=(Phase.generate, Phase.shrink),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def damaged(whole):
    """What may become of the bytes of a file."""
    places = st.integers(0, len(whole))
    bits = st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4)
    other = st.sampled_from(TOKENS) | st.binary(max_size=8)
    spliced = st.tuples(places, places, other)
    words = [match.span() for match in re.finditer(rb"\d+|[a-zA-Z]+|[^\da-zA-Z]", whole)]
    exchanged = st.tuples(st.sampled_from(words), other).map(lambda w: (*w[0], w[1]))
    return st.one_of(
        places.map(lambda end: whole[:end]),
        bits.map(lambda numbers: _flipped(whole, numbers)),
        spliced.map(lambda s: whole[: s[0]] + s[2] + whole[s[0] :]),
        (spliced | exchanged).map(lambda s: whole[: min(s[:2])] + s[2] + whole[max(s[:2]) :]),
        spliced.map(lambda s: whole[: s[0]] + s[2] + whole[s[0] + len(s[2]) :]),
        st.binary(max_size=100),
    )


def damaged_text(whole):
    """The same of a text, such as a command line can hold."""
    return damaged(whole.encode()).map(lambda data: data.decode(errors="replace"))


def _flipped(whole, bits):
    data = bytearray(whole)
    for bit in bits:
        data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


@contextmanager
def orderly(*names):
    """Lets an error pass that is one of ours and names one of these; any other one fails."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        if type(error) not in (ValueError, FileNotFoundError):  # UnicodeDecodeError, for one
            raise
        assert any(str(name) in str(error) for name in names), f"{error} names none of {names}"
