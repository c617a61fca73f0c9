"""Options that commands over an output share, and how an output is reached with them."""

from typing import Annotated

import typer

from repaint_batch.config import StorageConfig, parse_config
from repaint_batch.jobs.plan import newest_settings
from repaint_batch.storage import Storage

OutputUri = Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix of the output.")]
Endpoint = Annotated[str | None, typer.Option(help="S3 endpoint other than AWS's own (or AWS_ENDPOINT_URL).")]
Region = Annotated[str | None, typer.Option(help="S3 region (or AWS_REGION).")]


def given(endpoint_url: str | None, region: str | None) -> Storage:
    """Return how a store is reached by these options alone.

    Raises:
        ConfigError: the endpoint carries credentials.
    """
    return Storage(parse_config({"endpoint_url": endpoint_url, "region": region}, StorageConfig, "--endpoint-url, --region"))


def reached(output: str, endpoint_url: str | None, region: str | None) -> Storage:
    """Return how an output is reached: as its newest job reached it, where options and AWS_ENDPOINT_URL do not say otherwise.

    Raises:
        RepaintBatchError: its plans cannot be read.
    """
    storage = given(endpoint_url, region)
    settings = newest_settings(output, storage)
    # From here the store may have another address than from the cluster.
    return storage if settings is None else Storage(overridden(settings, storage.endpoint_url, region))


def overridden(settings: StorageConfig, endpoint_url: str | None, region: str | None) -> StorageConfig:
    """Return a job's settings, with what these options say."""
    return settings.model_copy(
        update={"endpoint_url": endpoint_url or settings.endpoint_url, "region": region or settings.region}
    )
