"""What no browser sends: requests that are huge, never end, or lie about their length."""

import contextlib
import socket

import pytest

from repaint_batch.review.server import ReviewServer

from .test_server import Serve, ask, verdicts


def answered(server: ReviewServer, request: str) -> bytes:
    """Return everything that the server says to a request before it hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):  # it may hang up before it has heard all
            connection.sendall(request.encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                said += piece
        return said


@pytest.mark.parametrize("length", ["Content-Length: \xb2", "Content-Length: -1", "Content-Length: 9" + "9" * 20,
                                    "Transfer-Encoding: chunked", "X: y"])  # fmt: skip
def test_a_body_without_an_honest_length_is_not_taken_for_the_next_request(output: str, serve: Serve, length: str) -> None:
    server = serve(output)
    first = f"POST /{server.token}/decisions HTTP/1.1\r\nHost: {server.hosts[0]}\r\n{length}\r\n\r\n"
    said = answered(server, f"{first}GET /{server.token}/rows HTTP/1.1\r\nHost: {server.hosts[0]}\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert verdicts(output) == {}


@pytest.mark.parametrize(
    ("line", "headers", "status"), [("/" + "a" * 100_000, 0, b" 414 "), ("/", 300, b" 431 "), ("/../../etc/passwd", 0, b" 404 ")]
)
def test_huge_requests_are_refused(output: str, serve: Serve, line: str, headers: int, status: bytes) -> None:
    server = serve(output)
    more = "".join(f"X-{number}: y\r\n" for number in range(headers))
    request = f"GET {line} HTTP/1.1\r\nHost: {server.hosts[0]}\r\n{more}Connection: close\r\n\r\n"
    assert status in answered(server, request).partition(b"\r\n")[0]


def test_who_never_ends_a_request_keeps_nobody_waiting(output: str, serve: Serve) -> None:
    server = serve(output)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=20))
            idle.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n")
        assert ask(server, f"/{server.token}/rows")[0] == 200
