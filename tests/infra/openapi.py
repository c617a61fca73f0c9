"""Kubernetes' dialect of OpenAPI v3, as far as KubeRay's definitions use it, on top of JSON Schema.

Two things differ. Kubernetes drops fields that it does not know without a word, so here they are errors, except where
``x-kubernetes-preserve-unknown-fields`` asks to keep them. And a list of type ``map`` must not hold two entries with the same
keys. ``x-kubernetes-validations`` (rules in CEL) are not evaluated.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

SCHEMAS = Path(__file__).parent / "schemas"


def faults(manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object of a kind in ``schemas/``, one line a fault."""
    validator = _Validator(_schema(manifest["kind"], manifest["apiVersion"].rpartition("/")[2]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@cache
def _schema(kind: str, version: str) -> Any:
    return closed(json.loads((SCHEMAS / f"{kind}.{version}.json").read_text()))


def closed(schema: Any) -> Any:
    """Return a schema whose objects allow no fields but those that they name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {**schema, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    changed = {key: closed(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        changed["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            changed.setdefault("additionalProperties", False)
    return changed


def _no_duplicates(validator: Any, keys: list[str], value: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(value, list):
        return
    seen = [tuple(entry.get(key) for key in keys) for entry in value if isinstance(entry, dict)]
    for twice in {entry for entry in seen if seen.count(entry) > 1}:
        yield ValidationError(f"{twice} stands there more than once")


_Validator = extend(Draft202012Validator, {"x-kubernetes-list-map-keys": _no_duplicates})
