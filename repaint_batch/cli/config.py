"""The reference of every setting, made from the models that settings are checked by."""

import json
import textwrap
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from pydantic.fields import FieldInfo

from repaint_batch.config import JobConfig, Model
from repaint_batch.nights.config import NightConfig
from repaint_batch.priors.train_config import TrainConfig

_WIDTH = 118
_EXAMPLES = {"manifest": "manifest.parquet", "uri": "restored", "pictures": ["pictures"], "output": "prior",
             "images": "pictures"}  # fmt: skip
"""Values of settings that have no default."""


class Kind(StrEnum):
    """What a config is for."""

    JOB = "job"
    NIGHT = "night"
    TRAIN = "train"


_MODELS: dict[Kind, type[Model]] = {Kind.JOB: JobConfig, Kind.NIGHT: NightConfig, Kind.TRAIN: TrainConfig}


def config(
    kind: Annotated[
        Kind, typer.Argument(help="Settings of a job, of a night, or of training a prior (jobs/train_prior.py).")
    ] = Kind.JOB,
    schema: Annotated[bool, typer.Option("--schema", help="Print JSON Schema instead, for editors and other tools.")] = False,
) -> None:
    """Print every setting with its default and its meaning, as a config to start from.

    Example: repaint-batch config
    """
    model = _MODELS[kind]
    if schema:
        typer.echo(json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False))
    else:
        typer.echo(reference(model), nl=False)


def reference(model: type[Model]) -> str:
    """Return a config of `model` in YAML: every setting at its default, its meaning above it."""
    limits = model.model_json_schema()
    return "\n".join(_lines(model, limits, limits, 0)) + "\n"


def _lines(model: type[Model], schema: dict[str, Any], root: dict[str, Any], depth: int) -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        indent = "  " * depth
        own = schema["properties"][name]
        words = " ".join(filter(None, (field.description, _limits(own, root))))
        section = _section(field)
        if section is not None:
            lines += _comment(words or (section.__doc__ or "" if section.__doc__ != Model.__doc__ else ""), indent)
            lines.append(f"{indent}{name}:")
            lines += _lines(section, _resolved(own, root), root, depth + 1)
            continue
        lines += _comment(words, indent)
        value = _EXAMPLES[name] if field.is_required() else field.get_default(call_default_factory=True)
        plain = list(value) if isinstance(value, tuple) else value.model_dump(mode="json") if isinstance(value, Model) else value
        shown = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
        lines.append(f"{indent}{name}: {shown}" + ("  # required" if field.is_required() else ""))
    return lines


def _section(field: FieldInfo) -> type[Model] | None:
    """Return the model of a setting that is a section of its own, unless it may be left out altogether."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Model) else None


def _comment(words: str, indent: str) -> list[str]:
    prefix = f"{indent}# "
    words = " ".join(words.replace("``", "`").split())
    return textwrap.wrap(words, _WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _limits(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """Return in words what values a setting takes, beyond its kind."""
    choices = [_resolved(choice, root) for choice in schema.get("anyOf", [schema])]
    said = []
    for choice in choices:
        if "enum" in choice:
            said.append(f"One of {', '.join(map(str, choice['enum']))}.")
        low, above = choice.get("minimum"), choice.get("exclusiveMinimum")
        high, below = choice.get("maximum"), choice.get("exclusiveMaximum")
        bounds = [f"at least {low:,}" if low is not None else f"over {above:,}" if above is not None else ""]
        bounds.append(f"at most {high:,}" if high is not None else f"under {below:,}" if below is not None else "")
        if any(bounds) and bounds != ["over 0", ""]:  # positive goes without saying
            said.append(f"{' and '.join(filter(None, bounds)).capitalize()}.")
    return " ".join(dict.fromkeys(said))
