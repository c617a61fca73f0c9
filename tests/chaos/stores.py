"""Stores that can be had from package registries, each run as a service on loopback."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from ..seaweed import S3Service, run_seaweed

Runner = Callable[[Path], contextlib.AbstractContextManager[S3Service]]


@contextlib.contextmanager
def run_moto(folder: Path) -> Iterator[S3Service]:
    """Run moto's server, whose refusals are worded as AWS's are; it keeps everything in memory."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Service(f"http://{host}:{port}")
    finally:
        server.stop()


STORES: dict[str, Runner] = {"seaweedfs": run_seaweed, "moto": run_moto}
