"""The methods, one module each with ``run(config, workdir) -> results``; found by module name."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreid.training import computing, parallel


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Runs the system that ``config['system']`` names, in the mode and type that it asks for.

    Raises:
        ValueError: an unknown system, with a hint; a mode, a number of shards or a type that
            cannot be.
    """
    name, known = config["system"], [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        hint = difflib.get_close_matches(name, known, 1)
        raise ValueError(
            f"config.system is {name!r}; systems are {', '.join(known)}"
            + (f". Did you mean {hint[0]!r}?" if hint else "")
        )
    system = importlib.import_module(f"{__name__}.{name}")
    with parallel(config["parallel"], config["shards"]), computing(config["dtype"]):
        return system.run(config, workdir)
