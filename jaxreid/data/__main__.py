"""Data sets from the command line: ``python -m jaxreid.data {check,world,vtest} ...``."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

from jaxreid.data import vtest, world
from jaxreid.data.check import check
from jaxreid.data.layouts import LAYOUTS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0, or 1 if a check found problems or a command failed.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxreid.data", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("check", help="report what is in a folder and what is wrong")
    command.add_argument("name", choices=LAYOUTS)
    command.add_argument("dir", help="the official folder, unpacked")
    command.set_defaults(run=_check)

    command = commands.add_parser("world", help="draw a synthetic world")
    command.add_argument("dir", help="folder to create")
    command.add_argument("--masks", action="store_true", help="write foreground masks, too")
    command.add_argument("--keypoints", action="store_true", help="write keypoints, too")
    add_flags(command, world.Spec)
    command.set_defaults(run=_world)

    command = commands.add_parser("vtest", help="cut the labelled people out of vtest.avi")
    command.add_argument("dir", help="folder to create")
    command.add_argument("--video", help="vtest.avi; default: from Debian's package opencv-doc")
    command.set_defaults(run=_vtest)
    return parser


def add_flags(parser: argparse.ArgumentParser, spec: type) -> None:
    """Adds one flag for every field of a dataclass of numbers and texts with defaults."""
    hints = get_type_hints(spec)
    for field in dataclasses.fields(spec):
        kinds = [kind for kind in get_args(hints[field.name]) if kind is not type(None)]
        kind = kinds[0] if kinds else hints[field.name]  # of "int | None", int
        text = f"default: {field.default}"
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=text)


def from_flags(spec: type, arguments: argparse.Namespace) -> Any:
    """The dataclass instance that the flags of ``add_flags`` describe."""
    return spec(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(spec)}
    )


def _check(arguments: argparse.Namespace) -> int:
    lines = check(arguments.name, arguments.dir)
    for line in lines:
        print(f"PROBLEM  {line.text}" if line.wrong else line.text)
    wrong = sum(line.wrong for line in lines)
    print(f"{wrong} problem(s)" if wrong else "no problems: fit for training")
    return int(wrong > 0)


def _world(arguments: argparse.Namespace) -> int:
    spec = from_flags(world.Spec, arguments)
    world.write(spec, arguments.dir, masks=arguments.masks, keypoints=arguments.keypoints)
    return 0


def _vtest(arguments: argparse.Namespace) -> int:
    vtest.write(arguments.dir, arguments.video)
    return 0


if __name__ == "__main__":
    sys.exit(main())
