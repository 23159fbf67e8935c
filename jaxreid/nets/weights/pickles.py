"""Pickles read as data: nothing that a file names is imported, called or set.

Python's unpickler runs what a file says, and even with its globals limited it allocates what a file
announces. This machine decodes with the standard library's `pickletools`, which only looks, and
knows the few operations that dictionaries, lists, numbers and arrays are made of.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

MAX_OPERATIONS = 500_000  # a large state dict takes tens of thousands; each may cost 200 bytes


class Refusal(ValueError):
    """Says what a file has or does that it must not; the sentence lacks its subject, the file."""


class Global(NamedTuple):
    """What a global of the file stands for here: a function of ours, or a plain value."""

    value: Any


def unpickle(
    stream: BinaryIO,
    globals_: Mapping[str, Any],
    build: Callable[[Any, Any], None],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle and leaves the stream behind it.

    Args:
        stream: in memory, so that reading more than there is costs nothing.
        globals_: "module name" to what stands for it; any other global is refused.
        build: is told `(instance, state)` where the pickle sets an object's state.
        persistent: maps a persistent id to what it stands for.

    Returns:
        The pickled value; ordered dictionaries become plain ones.

    Raises:
        Refusal: if the pickle names any other global or operation; a damaged one may raise
            any other exception, so the caller guards.
    """
    machine = _Machine(globals_, build, persistent)
    for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        if count == MAX_OPERATIONS:
            raise Refusal(f"has a pickle of more than {MAX_OPERATIONS} operations")
        machine.step(operation.name, argument)
    (value,) = machine.stack
    return value


def ordered_dict(pairs: Any = ()) -> dict:
    """Stands for `collections.OrderedDict`, called with nothing or (Python 2) a list of pairs.

    The list is used up: made into dictionaries again and again, it would fill the memory.
    """
    if not pairs:
        return {}
    if type(pairs) is not list or None in pairs:
        raise Refusal("makes a dictionary of what is no list of pairs, or is used up")
    made = put({}, *(item for key, value in pairs for item in (key, value)))
    pairs[:] = [None]
    return made


def put(target: Any, *items: Any) -> dict:
    """Adds keys and values in turn to a dictionary of ours; keys are plain and appear once."""
    if type(target) is not dict:
        raise Refusal("sets items of what is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | None):
            raise Refusal(f"has a dictionary key of type {type(key).__name__}")
        if key in target:
            raise Refusal(f"holds the key {key!r:.100} twice")
        target[key] = value
    return target


_VALUES = frozenset(
    "INT LONG BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8".split()
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}


class _Machine:
    """The stack, the marked stacks below it, and the memo."""

    def __init__(self, globals_, build, persistent):
        self.globals, self.build, self.persistent = globals_, build, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carries out one operation."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif (act := getattr(self, f"_{name.lower()}", None)) is not None:
            act() if argument is None else act(argument)
        else:
            raise Refusal(f"uses the pickle operation {name}, which weights do not need")

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _take(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise Refusal("takes from an empty stack")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _proto(self, version: int) -> None: ...

    def _frame(self, length: int) -> None: ...

    def _stop(self) -> None: ...

    def _mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _tuple(self) -> None:
        items = self._since_mark()  # first: it changes the stack
        self.stack.append(tuple(items))

    def _tuple1(self) -> None:
        self.stack.append(tuple(self._take(1)))

    def _tuple2(self) -> None:
        self.stack.append(tuple(self._take(2)))

    def _tuple3(self) -> None:
        self.stack.append(tuple(self._take(3)))

    def _append(self) -> None:
        self._extend(self._take(1))

    def _appends(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refusal("appends to what is no list")
        self.stack[-1].extend(items)

    def _setitem(self) -> None:
        items = self._take(2)
        put(self.stack[-1], *items)

    def _setitems(self) -> None:
        items = self._since_mark()
        put(self.stack[-1], *items)

    def _global(self, name: str) -> None:
        if name not in self.globals:
            raise Refusal(
                f"names {name.replace(' ', '.', 1)!r:.100}, which is no tensor, and was not run. "
                "Only dictionaries of tensors are read: save model.state_dict() alone"
            )
        self.stack.append(Global(self.globals[name]))

    def _stack_global(self) -> None:
        module, name = self._take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refusal("names a global by what is no text")
        self._global(f"{module} {name}")

    def _reduce(self) -> None:
        function, arguments = self._take(2)
        if type(function) is not Global or not callable(function.value):
            raise Refusal("calls what is no function")
        if type(arguments) is not tuple:
            raise Refusal("calls a function with what is no tuple")
        self.stack.append(function.value(*arguments))

    _newobj = _reduce

    def _build(self) -> None:
        (state,) = self._take(1)
        self.build(self.stack[-1], state)

    def _binpersid(self) -> None:
        if self.persistent is None:
            raise Refusal("has a persistent id, which only PyTorch's files have")
        self.stack.append(self.persistent(*self._take(1)))
