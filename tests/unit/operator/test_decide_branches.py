"""The lifecycle document's rows reach every branch: with any condition forced, some row comes out otherwise.

A table of rows says nothing about a condition that no row depends on. So each condition (of an if, of a conditional
expression, each part of an `and` or `or`) is replaced by true and by false, one at a time, and all rows are decided
anew.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest

from driftstack_operator.pods import outcome
from driftstack_operator.sessions import decide
from tests.unit.operator.test_decide import observed, rows

APART = {"end", "_unknown", "_lost", "_said", "agent_log", "agent_usage", "holds_slot"}
"""Calls and functions that only make texts, or decide nothing."""
SEEN = [observed(*row[:3]) for row in rows()]

Decide = Callable[[decide.Observed], object]


class Condition(NamedTuple):
    """Where a condition stands: its function, its parent there, the field, and the place in the field's list."""

    module: ModuleType
    function: ast.FunctionDef
    parent: ast.AST
    field: str
    place: int | None

    def get(self) -> ast.expr:
        value = getattr(self.parent, self.field)
        expression: ast.expr = value if self.place is None else value[self.place]
        return expression

    def put(self, expression: ast.expr) -> None:
        if self.place is None:
            setattr(self.parent, self.field, expression)
        else:
            getattr(self.parent, self.field)[self.place] = expression

    def __str__(self) -> str:
        name = self.module.__name__.rpartition(".")[2]
        return f"{name}.py, {self.function.name}: {ast.unparse(self.get())}"


def is_apart(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in APART
    return isinstance(node, ast.JoinedStr)


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    if isinstance(node, ast.If | ast.IfExp):
        yield node, "test", None
    if isinstance(node, ast.BoolOp):
        yield from ((node, "values", place) for place in range(len(node.values)))
    if isinstance(node, ast.comprehension):
        yield from ((node, "ifs", place) for place in range(len(node.ifs)))
    for child in ast.iter_child_nodes(node):
        if not is_apart(child):
            yield from places(child)


def conditions(module: ModuleType) -> Iterator[Condition]:
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef) and node.name not in APART:
            yield from (Condition(module, node, *place) for place in places(node))


def deciding(condition: Condition, *, to: bool) -> Decide:
    """Return `decide` with one condition, in it or in what it calls, replaced."""
    before = condition.get()
    condition.put(ast.copy_location(ast.Constant(to), before))
    try:
        tree = ast.Module([condition.function], type_ignores=[])
        code = compile(tree, "a condition forced", "exec")
    finally:
        condition.put(before)
    names = dict(vars(condition.module))
    exec(code, names)  # noqa: S102 - our own source
    made = _linked(condition.module, {condition.function.name: names[condition.function.name]})
    if condition.module is outcome:
        made = _linked(decide, {}, {name: made[name] for name in ("outcome", "hopeless", "stuck")})
    act: Decide = made["decide"]
    return act


def _linked(
    module: ModuleType, own: dict[str, FunctionType], others: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a module's names with some functions replaced, and all its functions calling those of this copy."""
    names = {**vars(module), **(others or {})}
    for name, value in {**vars(module), **own}.items():
        if isinstance(value, FunctionType) and name not in (others or {}):
            copy = FunctionType(value.__code__, names, name, value.__defaults__, value.__closure__)
            copy.__kwdefaults__ = value.__kwdefaults__
            names[name] = copy if name in own or value.__module__ == module.__name__ else value
    return names


def results(act: Decide) -> list[object]:
    found: list[object] = []
    for seen in SEEN:
        try:
            found.append(act(seen))
        except Exception as error:  # whatever a forced condition leads to, it is not what the row says
            found.append(repr(error))
    return found


CONDITIONS = [condition for module in (decide, outcome) for condition in conditions(module)]


@pytest.mark.parametrize("module", [decide, outcome], ids=lambda module: module.__name__.rpartition(".")[2])
def test_copies_decide_as_the_originals(module: ModuleType) -> None:
    names = _linked(module, {})
    if module is outcome:
        names = _linked(decide, {}, {name: names[name] for name in ("outcome", "hopeless", "stuck")})
    assert results(names["decide"]) == [decide.decide(seen) for seen in SEEN]


def test_every_condition_matters_to_some_row() -> None:
    expected = [decide.decide(seen) for seen in SEEN]
    ignored = [
        f"{condition} -> {to}"
        for condition in CONDITIONS
        for to in (True, False)
        if results(deciding(condition, to=to)) == expected
    ]
    assert not ignored, "\n".join(ignored)
    assert len(CONDITIONS) > 50
