"""The CRDs and the models in driftstack_common.kinds say the same, field for field; and the schemas are strict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from msgspec import inspect

from driftstack_common import kinds
from driftstack_common.kinds import Resource
from driftstack_common.names import GROUP, VERSION
from tests.contract.crds import Schema, crds, schema, version

MODELS: Final = {
    model.KIND.name: model
    for model in vars(kinds).values()
    if isinstance(model, type) and issubclass(model, Resource) and model is not Resource
}

FREE_OBJECTS: Final = {"spec.metadata"}
"""The one field whose inside has no schema."""

LOOSE_MODELS: Final = {"spec.tolerations[]"}
"""Objects that a schema describes and no code reads: they go into pods as they are."""


def test_every_model_has_a_crd() -> None:
    assert sorted(MODELS) == sorted(crds())


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_names_and_scope(kind: str) -> None:
    model, spec = MODELS[kind].KIND, crds()[kind]["spec"]
    assert (model.group, model.version) == (GROUP, VERSION) == (spec["group"], version(kind)["name"])
    assert (model.plural, model.namespaced) == (spec["names"]["plural"], spec["scope"] == "Namespaced")
    assert crds()[kind]["metadata"]["name"] == f"{model.plural}.{GROUP}"


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_fields_are_equal(kind: str) -> None:
    model = inspect.type_info(MODELS[kind])
    assert isinstance(model, inspect.StructType)
    fields = {field.encode_name: field for field in model.fields if field.name != "metadata"}
    root = schema(kind)
    assert sorted(fields) == sorted(root["properties"])
    assert sorted(root.get("required", [])) == sorted(name for name, field in fields.items() if field.required)
    differences = [text for name, f in fields.items() for text in compare(name, f.type, root["properties"][name])]
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_status_is_a_subresource(kind: str) -> None:
    has_status = "status" in schema(kind)["properties"]
    assert ("status" in version(kind).get("subresources", {})) is has_status


def compare(path: str, model: inspect.Type, node: Schema) -> Iterator[str]:
    """Yield each difference between a type of a model and its schema."""
    inner = optional(model)
    expected = openapi_type(inner)
    if node.get("type") != expected:
        yield f"{path}: the schema has type {node.get('type')}, the model {expected}"
    elif isinstance(inner, inspect.StructType):
        yield from compare_struct(path, inner, node)
    elif isinstance(inner, inspect.ListType):
        yield from compare(f"{path}[]", inner.item_type, node["items"])
    elif isinstance(inner, inspect.DictType):
        yield from compare_dict(path, inner, node)
    elif choices(inner) != (set(node["enum"]) if "enum" in node else None) and not is_narrower(inner, node):
        yield f"{path}: the schema allows {node.get('enum')}, the model {choices(inner)}"
    elif isinstance(inner, inspect.DateTimeType) and node.get("format") != "date-time":
        yield f"{path}: the model has a time, the schema no format date-time"


def compare_struct(path: str, model: inspect.StructType, node: Schema) -> Iterator[str]:
    """Yield what differs in names, needs, defaults and types of an object's fields."""
    fields = {field.encode_name: field for field in model.fields}
    properties = node.get("properties", {})
    if fields.keys() != properties.keys():
        yield f"{path}: only one side has {sorted(fields.keys() ^ properties.keys())}"
    if set(node.get("required", [])) != {name for name, field in fields.items() if field.required}:
        yield f"{path}: the schema requires {node.get('required')}"
    for name in fields.keys() & properties.keys():
        yield from compare_default(f"{path}.{name}", fields[name], properties[name])
        yield from compare(f"{path}.{name}", fields[name].type, properties[name])


def compare_dict(path: str, model: inspect.DictType, node: Schema) -> Iterator[str]:
    """Yield what differs in a map: of texts, or of anything."""
    if isinstance(model.value_type, inspect.AnyType):
        if not node.get("x-kubernetes-preserve-unknown-fields") and path not in LOOSE_MODELS:
            yield f"{path}: the model takes anything, the schema does not"
    else:
        yield from compare(f"{path}{{}}", model.value_type, node["additionalProperties"])


def compare_default(path: str, field: inspect.Field, node: Schema) -> Iterator[str]:
    """Yield a default that differs. A model's empty default (no text, no entries, 0) needs none in the schema."""
    default = field.default if field.default is not msgspec.NODEFAULT else None
    modelled = msgspec.to_builtins(default)
    if "default" in node and node["default"] not in (modelled, {}):
        yield f"{path}: the schema's default is {node['default']!r}, the model's {modelled!r}"
    if modelled and "default" not in node and path != "spec.overrides" and not is_struct(field.type):
        yield f"{path}: the model's default {modelled!r} is not in the schema"


def optional(model: inspect.Type) -> inspect.Type:
    """Return T for `T | None`."""
    if not isinstance(model, inspect.UnionType):
        return model
    (inner,) = (t for t in model.types if not isinstance(t, inspect.NoneType))
    return inner


def is_struct(model: inspect.Type) -> bool:
    """Whether a field holds an object of its own."""
    return isinstance(optional(model), inspect.StructType)


def openapi_type(model: inspect.Type) -> str:
    """Return the schema type that stores a value of the model's type."""
    names: dict[type[inspect.Type], str] = {
        inspect.StructType: "object",
        inspect.DictType: "object",
        inspect.ListType: "array",
        inspect.BoolType: "boolean",
        inspect.IntType: "integer",
        inspect.FloatType: "number",
    }
    return names.get(type(model), "string")


def choices(model: inspect.Type) -> set[Any] | None:
    """Return the values of an enumeration; None for any other type."""
    if isinstance(model, inspect.LiteralType):
        return set(model.values)
    if isinstance(model, inspect.EnumType):
        return {member.value for member in model.cls}
    return None


def is_narrower(model: inspect.Type, node: Schema) -> bool:
    """Whether the schema enumerates what the model reads as any text."""
    return isinstance(model, inspect.StrType) and "enum" in node


# --- strictness ---------------------------------------------------------------------------------------------------


def nodes(path: str, node: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every schema below the root, with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(f"{path}.{name}" if path else name, child)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in node:
            yield from nodes(f"{path}{mark}", node[key])


def looseness(path: str, node: Schema) -> Iterator[str]:
    """Yield what a schema leaves open."""
    if not node.get("description"):
        yield "no description"
    kind = node.get("type")
    if kind == "string" and "enum" not in node and "maxLength" not in node:
        yield "a text without bound"
    if kind in ("integer", "number") and "minimum" not in node:
        yield "a number without minimum"
    if kind == "array" and "maxItems" not in node:
        yield "a list without bound"
    if "additionalProperties" in node and "maxProperties" not in node:
        yield "a map without bound"
    has_fields = "properties" in node or "additionalProperties" in node
    if kind == "object" and not has_fields and (path not in FREE_OBJECTS or "maxProperties" not in node):
        yield "an object without fields"
    if kind is None or (node.get("x-kubernetes-preserve-unknown-fields") and path not in FREE_OBJECTS):
        yield "anything goes"


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_schemas_are_strict(kind: str) -> None:
    found = [f"{path}: {text}" for path, node in nodes("", schema(kind)) for text in looseness(path, node)]
    assert not found, "\n".join(found)


# --- what people see ----------------------------------------------------------------------------------------------

COLUMNS: Final = {
    "BrowserSession": ["Phase", "Reason", "Archetype", "Ready-In", "Pool", "Node", "Age"],
    "SessionRecord": ["Phase", "Reason", "Session", "Archetype", "Duration(ms)", "Ended", "Message"],
    "Account": ["Tier", "Live", "Limit", "Ready", "Suspended", "Namespace", "Age"],
}


@pytest.mark.parametrize("kind", sorted(COLUMNS))
def test_columns(kind: str) -> None:
    columns = version(kind)["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == COLUMNS[kind]


def test_live_and_ended_sessions_share_a_category() -> None:
    shared = {kind for kind, crd in crds().items() if "driftstack" in crd["spec"]["names"].get("categories", [])}
    assert shared == {"BrowserSession", "SessionRecord"}


def test_short_names() -> None:
    expected = {"bs", "bsr", "bpool", "acct", "akey", "arch", "ausage", "whe", "whd"}
    assert {name for crd in crds().values() for name in crd["spec"]["names"].get("shortNames", [])} == expected


def test_pool_has_scale() -> None:
    scale = version("BrowserPool")["subresources"]["scale"]
    assert scale == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
