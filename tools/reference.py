"""Writes docs/plugins/reference.md from the hooks and objects themselves.

python tools/reference.py           write it
python tools/reference.py --check   change nothing; exit 1 when it is not up to date
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import core.api as door  # noqa: E402  found only after the line above
import core.api.testing as kit  # noqa: E402
from core.hooks import specs  # noqa: E402
from core.hooks.manager import hooks_in  # noqa: E402
from core.web.slots import PLACES  # noqa: E402

FILE = ROOT / "docs" / "plugins" / "reference.md"
HEAD = """# Reference for plugin authors

Written by `python tools/reference.py` from the code; change the docstrings, not this file. The guide is
[Writing a plugin](../plugins.md).
"""
ROLE = re.compile(r":(?:class|meth|attr|func):`~?(?:[\w.]+\.)?([\w.]+)`")


def written() -> str:
    parts = [HEAD, "## Hooks\n", *map(hook, hooks_in(specs)), "## Slots\n", slots()]
    parts += ["## core.api\n", *things(door), "## core.api.testing\n", *things(kit)]
    return "\n".join(parts).rstrip() + "\n"


def hook(name: str) -> str:
    function = getattr(specs, name)
    return f"### `{name}({', '.join(inspect.signature(function).parameters)})`\n\n{prose(function)}\n"


def slots() -> str:
    rows = [
        f"| `{one.name}` | {type_name(one.subject)} | {type_name(one.gives)} | {one.where} |" for one in PLACES.values()
    ]
    return "\n".join(
        ["| place | what is shown to the plugin | what it gives | where |", "|---|---|---|---|", *rows, ""]
    )


def things(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing):
            yield of_class(name, thing)
        elif inspect.isfunction(thing):
            yield f"### `{name}{signature(thing)}`\n\n{prose(thing)}\n"
        else:
            yield "\n\n".join(filter(None, [f"### `{name}`", alias(thing), said_below(module, name)])) + "\n"


def of_class(name: str, cls: type) -> str:
    lines = [f"### `{name}{bases(cls)}`\n", prose(cls), ""]
    said = said_inside(cls)
    lines += [item(f"`{each}: {annotation(of)}`", said.get(each, "")) for each, of in fields(cls)]
    if issubclass(cls, Enum):
        lines += [item(f"`{one.name}` = `{one.value}`", said[one.name]) for one in cls]
    lines += [item(f"`{each}`", prose(asked)) for each, asked in properties(cls)]
    lines += [item(f"`{each}{signature(function)}`", prose(function)) for each, function in functions(cls)]
    return "\n".join(lines).rstrip() + "\n"


def item(head: str, text: str) -> str:
    """One entry of a list; what it says beyond its first line stands below it."""
    return f"- {head}: {indent(text, '  ').strip()}" if text else f"- {head}"


def bases(cls: type) -> str:
    names = [base.__name__ for base in cls.__bases__ if base.__module__.startswith("core.") or base is Exception]
    return f"({', '.join(names)})" if names else ""


def fields(cls: type) -> Iterator[tuple[str, Any]]:
    """Those of a dataclass, inherited ones too; of another class what its own lines declare."""
    if dataclasses.is_dataclass(cls):
        found = {one.name: one.type for one in dataclasses.fields(cls)}
    else:
        found = inspect.get_annotations(cls)
    return ((name, of) for name, of in found.items() if not name.startswith("_"))


def properties(cls: type) -> Iterator[tuple[str, Any]]:
    return (
        (name, value) for name, value in vars(cls).items() if isinstance(value, property) and not name.startswith("_")
    )


def functions(cls: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if not name.startswith(("_", "test_")) and inspect.isfunction(function):
            yield name, function


def signature(function: Any) -> str:
    found = inspect.signature(function)
    names = [str(one).partition(":")[0].partition("=")[0].strip() for one in found.parameters.values()]
    return f"({', '.join(name for name in names if name not in ('self', 'cls'))})"


def annotation(of: Any) -> str:
    return (of if isinstance(of, str) else type_name(of)).replace("|", "or")


def type_name(of: Any) -> str:
    return "nothing" if of is None else getattr(of, "__name__", str(of))


def alias(thing: Any) -> str:
    if get_origin(thing) is None:
        return ""
    if get_origin(thing) is Annotated:
        thing = get_args(thing)[0].__name__
    return f"`{re.sub(r'(?:[a-z_]+[.])+', '', str(thing))[:200]}`"


def said_below(module: ModuleType, name: str) -> str:
    """The text that stands below an assignment, in the module that the name is taken from."""
    for line in parsed(module).body:
        if isinstance(line, ast.ImportFrom) and any(each.name == name for each in line.names):
            return below(parsed(importlib.import_module(str(line.module))).body).get(name, "")
    return ""


def said_inside(cls: type) -> dict[str, str]:
    """The same for the lines of a class."""
    body = parsed(sys.modules[cls.__module__]).body
    return next((below(each.body) for each in body if isinstance(each, ast.ClassDef) and each.name == cls.__name__), {})


def below(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for line, after in pairwise(body):
        match line, after:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(ast.Constant(str(text))),
            ):
                found[name] = marked_up(inspect.cleandoc(text))
    return found


@cache
def parsed(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def prose(thing: Any) -> str:
    return marked_up(inspect.getdoc(thing) or "")


def marked_up(text: str) -> str:
    text = ROLE.sub(r"`\1`", text).replace("``", "`")
    text = re.sub(r"^:param (\w+):", r"- `\1`:", text, flags=re.MULTILINE)
    return re.sub(r"^:(returns|raises)( [\w.]+)?:", r"- \1\2:", text, flags=re.MULTILINE)


def main(arguments: list[str]) -> int:
    text = written()
    if "--check" in arguments:
        return int(not FILE.is_file() or FILE.read_text("utf-8") != text)
    FILE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
