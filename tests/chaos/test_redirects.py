"""A store that sends its clients elsewhere: what it was signed does not go along."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from deltalake import DeltaTable

from repaint_batch.config import StorageConfig
from repaint_batch.errors import StorageError
from repaint_batch.storage import Storage


@contextlib.contextmanager
def serving(status: int, location: str = "") -> Iterator[tuple[str, list[str]]]:
    """Run a server that answers everything alike; yield its URL and what it was sent as authorisation."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            if location:
                self.send_header("Location", location + self.path)
            self.send_header("Content-Length", "4")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"data")

        do_HEAD = do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [302, 307])
def test_no_signature_goes_where_the_config_does_not_say(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Both clients follow redirects, which a store that the config names may ask for; neither takes credentials along."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "known")
    with serving(200) as (elsewhere, caught), serving(status, elsewhere) as (store, asked):
        storage = Storage(StorageConfig(endpoint_url=store, region="us-east-1", patience_s=0))
        with contextlib.suppress(StorageError):
            storage.read("s3://bucket/object")
        with contextlib.suppress(OSError):
            DeltaTable("s3://bucket/table", storage_options=storage.delta_options())
    assert sum(map(bool, asked)) >= 2, "the store itself is asked with a signature"
    assert not any(caught)
