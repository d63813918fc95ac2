"""Load what a user wrote outside the package: FILE.py:function, wherever a table's name may stand.

In a command code runs only where the user asked for it: where a config of theirs or the command line names the
function. Names that stand in a run's folder, in tables or in databases may come from anyone, and are mere labels until
`ask` is told of them, which for the code in a run's folder takes `--trust`. Outside of commands whoever calls a
function names it, but for the code in a run's folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import FoldlineError, InputError, Problem, Refused, lookup

T = TypeVar("T")
Function = Callable[..., Any]
OWN = "own"  # the folder of a run that holds copies of the user's files
TRUST = "--trust"
MEMORY = ("out of memory", "can't allocate memory")  # torch raises bare RuntimeErrors
ASKED = "FOLDLINE_ASKED"  # in the environment: folds and trials run in processes of their own that must know it, too


def file_of(name: str) -> Path | None:
    """Return the file that a name leads to, or None where it names no plugin."""
    file, colon, function = name.rpartition(":")
    return Path(file) if colon and function and file.endswith(".py") else None


def named(tree: object) -> Iterator[str]:
    """Yield every FILE.py:function that stands somewhere in a tree of plain values; nodes that recur count once."""
    seen, rest = set[int](), [tree]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            if file_of(one) is not None:
                yield one
        elif isinstance(one, Mapping | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            rest += [*one.keys(), *one.values()] if isinstance(one, Mapping) else one


def ask(names: Iterable[str]) -> None:
    """Let functions run that the user named; those of a run's folder only where `--trust` was given.

    A name that stands for a run's copy goes on doing so where there is no such file any more.
    """
    held, free = _asked(), trusted()
    if held is not None:
        there = [name for name in names if name not in held or Path(file_of(name) or "").is_file()]
        os.environ[ASKED] = json.dumps({**held, **{name: "" for name in there if free or not in_run(file_of(name))}})


def ask_copy(name: str, copy: Path) -> bool:
    """Let a function of a trusted run run from the run's copy under the name that the run's config gives it.

    Returns False, and does nothing, where the name stands for another file already.
    """
    held = _asked()
    if held is None or not trusted() or held.get(name, str(copy)) != str(copy):
        return False
    os.environ[ASKED] = json.dumps({**held, name: str(copy)})
    return True


def place_of(name: str) -> Path | None:
    """Return the file that holds a function: the one that its name leads to, or a trusted run's copy."""
    copy = (_asked() or {}).get(name)
    return Path(copy) if copy else file_of(name)


def is_asked(name: str) -> bool:
    """Tell whether a function was asked for."""
    return name in (_asked() or {})


def trusted() -> bool:
    """Tell whether the code in runs' folders may run."""
    return TRUST in (_asked() or {})


@contextlib.contextmanager
def asking(trust: bool | None) -> Iterator[None]:
    """Forget afterwards what one command asks for; None: it runs no code of runs' folders, whoever trusts it."""
    before = os.environ.get(ASKED)
    held = dict(_asked() or {}) | ({TRUST: ""} if trust else {})
    if trust is None:
        held.pop(TRUST, None)
    os.environ[ASKED] = json.dumps(held)
    try:
        yield
    finally:
        del os.environ[ASKED]
        os.environ |= {} if before is None else {ASKED: before}


def in_run(file: Path | None) -> bool:
    """Tell whether a file lies in a run's folder `own`, links followed or not."""
    if file is None:
        return False
    places = [file]
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # a loop of links, a NUL byte: nothing to run
        places += [file.absolute(), file.resolve()]
    return any(one.parent.name == OWN and (one.parent.parent / "config.yaml").exists() for one in places)


def permit(name: str) -> None:
    """Raise InputError where nobody asked for a function, so that its file is not to be executed."""
    held = _asked()
    if not (in_run(file_of(name)) if held is None else name not in held):
        return
    raise InputError(untrusted(name))


def untrusted(name: str) -> Problem:
    """Return why a function that nobody asked for does not run."""
    if in_run(file_of(name)):
        found = f"found '{name}', code of a run's folder, which runs only when it is trusted"
        return Problem("", found, remedy=f"read it, then add {TRUST}")
    found = f"found '{name}', code that neither your config nor the command line names, so that it does not run"
    return Problem("", found, remedy=f"where a run's folder holds a copy in {OWN}/, read it, then add {TRUST}")


def find(table: Mapping[str, T], name: str, what: str, entry: Callable[[str, Function], T]) -> T:
    """Return the table's entry, or the one that `entry(name, function)` makes of a plugin.

    A plugin's file is executed once in a process. Raises Refused with the nearest name where there is none, InputError
    where nobody asked for it.
    """
    if file_of(name) is None:
        return lookup(table, name, what)
    permit(name)
    made: T = _made(name, place_of(name), entry)
    return made


def attribute(name: str, function: Function, key: str, default: T, choices: Sequence[T]) -> T:
    """Return what a plugin's function says of itself; raise Refused where it is none of the choices."""
    found = getattr(function, key, default)
    if found is not default and not any(type(found) is type(choice) and found == choice for choice in choices):
        named = [str(choice) for choice in choices]
        expected = f"{', '.join(named[:-1])} or {named[-1]}"
        raise Refused(Problem("", f"found '{name}', {name.rpartition(':')[2]}.{key} is {found!r}", expected))
    return found


def function_of(name: str) -> Function:
    """Return the plugin's function; raise Refused that says what is wrong with the file or the name.

    The file is executed anew at every call. Python knows its module by a name, as dataclasses need. Raises InputError
    where nobody asked for it.
    """
    permit(name)
    file, function = place_of(name), name.rpartition(":")[2]
    if file is None or not file.is_file():
        raise Refused(Problem("", f"found '{name}', but there is no file {file}", "FILE.py:function"))
    spec = importlib.util.spec_from_file_location(f"foldline_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise Refused(Problem("", f"found '{name}', which Python cannot load"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        loaded = getattr(module, function, None)
    except (Exception, SystemExit) as error:
        found = f"found '{name}', whose file raised {_said(error)}"
        raise Refused(Problem("", found)) from error
    if not callable(loaded):
        raise Refused(Problem("", f"found '{name}', but {file} has no function '{function}'"))
    return loaded  # type: ignore[no-any-return]


def call(name: str, signature: str, function: Function, *given: Any) -> Any:
    """Return what a user's function returns; raise InputError with the way it is called where it raises.

    Want of memory is the machine's fault, and stays what it is.
    """
    try:
        return function(*given)
    except FoldlineError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in MEMORY):
            raise
        raise InputError(Problem(name, f"raised {_said(error)}", remedy=f"it is called as {signature}")) from error


def returned(name: str, found: object, expected: str) -> InputError:
    """Return the error for a user's function that returns something else than is expected of it."""
    return InputError(Problem(name, f"returned {found if isinstance(found, str) else _kind(found)}", expected))


def _kind(found: object) -> str:
    shape = getattr(found, "shape", None)
    return f"{found!r}"[:80] if shape is None else f"the shape {tuple(shape)}"


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _asked() -> Mapping[str, str] | None:
    """Return what was asked for, TRUST among it, each with the copy that it stands for, if any; None: no command."""
    return _parsed(os.environ.get(ASKED))


@cache
def _parsed(text: str | None) -> dict[str, str] | None:
    return None if text is None else dict(json.loads(text))


@cache
def _made(name: str, place: Path | None, entry: Callable[[str, Function], T]) -> T:
    return entry(name, function_of(name))
