"""Options that commands share, what the shell offers for them, and how an output is reached with them."""

from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from repaint_batch.cli.waiting import waiting
from repaint_batch.config import JobConfig, Model, StorageConfig, parse_config
from repaint_batch.jobs.plan import newest_settings
from repaint_batch.storage import Storage

FIRST_S = 30.0
"""Seconds for which commands that somebody waits for wait for a store that has never answered; jobs have all patience."""
_OWN = ("jobs", "results")  # folders that tell an output


def _folders(incomplete: str, *, configs: bool) -> Iterator[str]:
    """Yield what a path may go on as: YAML files if `configs`, outputs, and other folders to look into."""
    typed = Path(incomplete)
    folder, begun = (typed, "") if incomplete.endswith("/") else (typed.parent, typed.name)
    for path in sorted(folder.glob(f"{escape(begun)}*")):
        if path.is_dir():
            yield str(path) if all((path / name).is_dir() for name in _OWN) else f"{path}/"
        elif configs and path.suffix in (".yaml", ".yml"):
            yield str(path)


def complete_output(incomplete: str) -> list[str]:
    """Return the local outputs, and folders that may lead to one, that a path may go on as."""
    return list(_folders(incomplete, configs=False))


def complete_config(incomplete: str) -> list[str]:
    """Return the YAML files, and folders, that a path may go on as."""
    return list(_folders(incomplete, configs=True))


def complete_setting(incomplete: str) -> list[str]:
    """Return the settings of a job that ``section.key=value`` may go on as, or the values of one that has a choice of them."""
    key, equals, value = incomplete.partition("=")
    settings = dict(_settings(JobConfig))
    if not equals:
        return [f"{name}=" for name in settings if name.startswith(key)]
    return [f"{key}={choice}" for choice in _choices(settings.get(key)) if choice.startswith(value)]


def _settings(model: type[Model], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Model):
            yield from _settings(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def _choices(kind: Any) -> list[str]:
    if kind is bool:
        return ["false", "true"]
    return [choice for part in get_args(kind) for choice in ([part] if isinstance(part, str) else _choices(part))]


OutputUri = Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix of the output.", autocompletion=complete_output)]
ConfigPath = Annotated[
    str, typer.Argument(help="YAML file of the job, e.g. configs/restore-local.yaml.", autocompletion=complete_config)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting of the file, e.g. sampler.preset=draft. May be repeated.",
        autocompletion=complete_setting,
    ),
]
Endpoint = Annotated[str | None, typer.Option(help="S3 endpoint other than AWS's own (or AWS_ENDPOINT_URL).")]
Region = Annotated[str | None, typer.Option(help="S3 region (or AWS_REGION).")]


def given(endpoint_url: str | None, region: str | None, *, patient: bool = False) -> Storage:
    """Return how a store is reached by these options alone.

    Args:
        endpoint_url: of the store; None: AWS_ENDPOINT_URL, or AWS.
        region: of the store; None: as the environment says.
        patient: whether it is waited for as by jobs, and not by somebody who may have mistyped its address.

    Raises:
        ConfigError: the endpoint carries credentials.
    """
    config = parse_config({"endpoint_url": endpoint_url, "region": region}, StorageConfig, "--endpoint-url, --region")
    return Storage(config, first_s=None if patient else FIRST_S)


def reached(output: str, endpoint_url: str | None, region: str | None, *, patient: bool = False) -> Storage:
    """Return how an output is reached: as its newest job reached it, where options and AWS_ENDPOINT_URL do not say otherwise.

    Args:
        output: folder or prefix of the output.
        endpoint_url: see `given`.
        region: likewise.
        patient: likewise.

    Raises:
        RepaintBatchError: its plans cannot be read.
    """
    storage = given(endpoint_url, region, patient=patient)
    with waiting(f"asking {output}"):
        settings = newest_settings(output, storage)
    # From here the store may have another address than from the cluster.
    return storage if settings is None else storage.configured(overridden(settings, storage.endpoint_url, region))


def overridden(settings: StorageConfig, endpoint_url: str | None, region: str | None) -> StorageConfig:
    """Return a job's settings, with what these options say."""
    return settings.model_copy(
        update={"endpoint_url": endpoint_url or settings.endpoint_url, "region": region or settings.region}
    )
