"""A place on S3 behind a proxy that misbehaves."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from repaint_batch.config import StorageConfig

from ..conftest import Place
from ..seaweed import S3Service
from .proxy import FaultyProxy

_PATIENCE_S = 5


@dataclass(frozen=True)
class Faulty:
    """A place, once with faults and once without.

    Attributes:
        place: through the proxy.
        behind: past it.
        proxy: the proxy; harms nothing until it is told to.
    """

    place: Place
    behind: Place
    proxy: FaultyProxy


@pytest.fixture
def faulty(s3_service: S3Service, s3_place: Place) -> Iterator[Faulty]:
    """A bucket behind a proxy."""
    with FaultyProxy(s3_service.endpoint_url) as proxy:
        yield Faulty(
            Place(s3_place.uri, StorageConfig(endpoint_url=proxy.url, region="us-east-1", patience_s=_PATIENCE_S)),
            s3_place,
            proxy,
        )
