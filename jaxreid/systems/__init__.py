"""The methods, one module each with ``run(config, workdir) -> results``; found by module name."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreid.training import parallel


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Runs the system that ``config['system']`` names, in the mode of ``config['parallel']``.

    Raises:
        ValueError: an unknown system, with a hint; a mode or a number of shards that cannot be.
    """
    name, known = config["system"], [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        hint = difflib.get_close_matches(name, known, 1)
        raise ValueError(
            f"config.system is {name!r}; systems are {', '.join(known)}"
            + (f". Did you mean {hint[0]!r}?" if hint else "")
        )
    system = importlib.import_module(f"{__name__}.{name}")
    with parallel(config["parallel"], config["shards"]):
        return system.run(config, workdir)
