"""The lifecycle document's rows reach every branch: with any condition forced, some row comes out otherwise.

A table of rows says nothing about a condition that no row depends on. So each condition (of an if, of a conditional
expression, each part of an `and` or `or`) is replaced by true and by false, one at a time, and all rows are decided
anew.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from driftstack_operator.pods import outcome
from driftstack_operator.sessions import decide
from tests.unit.operator.test_decide import observed, rows

APART = {"end", "_unknown", "_lost", "_said", "agent_log", "holds_slot"}
"""Calls and functions that only make texts, or decide nothing."""
SEEN = [observed(*row[:3]) for row in rows()]

Decide = Callable[[decide.Observed], object]


def is_apart(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in APART
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.FunctionDef) and node.name in APART)


def conditions(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield where each condition stands: its parent, the field, and the place in the field's list."""
    if isinstance(node, ast.If | ast.IfExp):
        yield node, "test", None
    if isinstance(node, ast.BoolOp):
        yield from ((node, "values", place) for place in range(len(node.values)))
    if isinstance(node, ast.comprehension):
        yield from ((node, "ifs", place) for place in range(len(node.ifs)))
    for child in ast.iter_child_nodes(node):
        if not is_apart(child):
            yield from conditions(child)


def functions(module: ModuleType) -> ast.Module:
    tree = ast.parse(inspect.getsource(module))
    return ast.Module([node for node in tree.body if isinstance(node, ast.FunctionDef)], type_ignores=[])


def forced(module: ModuleType, number: int, *, to: bool) -> tuple[str, ast.Module]:
    """Return the functions of a module with one condition replaced, and how that condition reads."""
    tree = copy.deepcopy(functions(module))
    parent, field, place = list(conditions(tree))[number]
    value = ast.Constant(to)
    if place is None:
        before = getattr(parent, field)
        setattr(parent, field, value)
    else:
        before = getattr(parent, field)[place]
        getattr(parent, field)[place] = value
    return f"line {before.lineno}: {ast.unparse(before)}", ast.fix_missing_locations(tree)


def compiled(module: ModuleType, tree: ast.Module, **replaced: Any) -> dict[str, Any]:
    """Return the module's names with these functions in place of its own; its classes stay the same."""
    names = {**vars(module), **replaced}
    exec(compile(tree, f"{module.__name__} with a condition forced", "exec"), names)  # noqa: S102 - our own source
    return names


def deciding(module: ModuleType, tree: ast.Module) -> Decide:
    names = compiled(module, tree)
    if module is outcome:
        used = {name: names[name] for name in ("outcome", "hopeless", "stuck")}
        names = compiled(decide, functions(decide), **used)
    return names["decide"]


def results(act: Decide) -> list[object]:
    found: list[object] = []
    for seen in SEEN:
        try:
            found.append(act(seen))
        except Exception as error:  # whatever a forced condition leads to, it is not what the row says
            found.append(repr(error))
    return found


CASES = [
    (module, number, to)
    for module in (decide, outcome)
    for number in range(len(list(conditions(functions(module)))))
    for to in (True, False)
]


@pytest.mark.parametrize("module", [decide, outcome], ids=lambda module: module.__name__.rpartition(".")[2])
def test_unchanged_functions_decide_as_ever(module: ModuleType) -> None:
    assert results(deciding(module, functions(module))) == [decide.decide(seen) for seen in SEEN]


def test_every_condition_matters_to_some_row() -> None:
    expected = [decide.decide(seen) for seen in SEEN]
    ignored = []
    for module, number, to in CASES:
        condition, tree = forced(module, number, to=to)
        if results(deciding(module, tree)) == expected:
            ignored.append(f"{module.__name__.rpartition('.')[2]} {condition} -> {to}")
    assert not ignored, "\n".join(ignored)
    assert len(CASES) > 100
