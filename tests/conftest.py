"""The table of proofs: what was compared with what, and the largest error.

A test asks for the fixture `proof` and calls `proof(quantity, oracle, error, tolerance)`, which
asserts and remembers. The run ends with the table of all of them; `--write-proofs=FILE` keeps it
as Markdown, which is how `docs/proofs.md` is made (`make proofs`).
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

# For the processes that tests start, which would spend most of their time compiling. This one and
# its workers, who inherit it, optimise unless a test asks for `quick_compiler`: what is compiled
# how must not depend on the order of tests.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", False)
# Most of the time goes into compiling small programs, and many processes compile the same ones.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxreid"
QUICKEST = 0.2  # seconds: what compiles faster is not worth a file
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", QUICKEST)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(QUICKEST)

HEAD = """# What the tests compare, and how far apart it was

Every row was printed by one run of `make proofs`, which also wrote this page. An error is the
largest absolute difference over all cases, or relative to the largest magnitude where the row says
so. Rows about fetched weights need `python -m jaxreid.nets.weights.fetch` first.

"""
Rows = dict[tuple[str, str], tuple[float, float]]  # quantity and oracle: error and allowance
sections: dict[str, Rows] = {}


def pytest_addoption(parser):
    parser.addoption("--write-proofs", type=Path, help="write the table of proofs to this file")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Lets go of compiled programs: each is mapped into memory, and Linux allows 65,530 mappings.

    All tests together would need more, and then fail to compile wherever they have got to.
    """
    yield
    jax.clear_caches()


@pytest.fixture
def proof(record_property):
    """Asserts `error <= tolerance` and adds a row to the table of proofs."""

    def check(quantity: str, oracle: str, error: float, tolerance: float) -> None:
        assert np.isfinite(error), f"{quantity} against {oracle}: {error}"
        record_property("proof", (quantity, oracle, float(error), float(tolerance)))
        assert error <= tolerance, f"{quantity} differs from {oracle} by {error:.2e}"

    return check


@pytest.fixture
def quick_compiler():
    """Compiles with few optimisations, for tests that spend most of their time compiling."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def pytest_runtest_logreport(report):
    """Collects rows, from worker processes, too; the worst case of each row stays."""
    for name, row in report.user_properties if report.when == "call" else ():
        if name == "proof":
            section = sections.setdefault(report.nodeid.split("/")[1], {})
            quantity, oracle, error, tolerance = row
            error = max(error, section.get((quantity, oracle), (0.0,))[0])
            section[quantity, oracle] = error, tolerance


def pytest_terminal_summary(terminalreporter, config):
    text = "\n".join(f"## {name}\n\n{_table(sections[name])}\n" for name in sorted(sections))
    if text:
        terminalreporter.section("proofs")
        terminalreporter.write_line(text)
    if path := config.getoption("--write-proofs"):
        path.write_text(HEAD + text)


def _table(rows: Rows) -> str:
    lines = ["| quantity | oracle | max error | allowed |", "|---|---|---|---|"]
    for (quantity, oracle), (error, tolerance) in sorted(rows.items()):
        lines.append(f"| {quantity} | {oracle} | {error:.1e} | {tolerance:.0e} |")
    return "\n".join(lines)
