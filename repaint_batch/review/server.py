"""A desk on loopback: one page, its rows and pictures, and addresses that take decisions and corrected masks.

Only this machine can reach it, but every web page that is open on this machine can send requests here, and a stranger's page
whose name resolves to 127.0.0.1 is one of the same origin. Hence three locks: a random token in the path, which no other page
knows; a Host that is this server's own, against DNS rebinding; and for what is sent an Origin that is its own and a content type
that no form can send, against forged requests.
"""

import gzip
import hmac
import json
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import get_args
from urllib.parse import unquote

from deltalake.exceptions import DeltaError

from repaint_batch.config import parse_config
from repaint_batch.errors import CommitFailed, CommitUnknown, ConfigError, RepaintBatchError, redact
from repaint_batch.report.page import joined_script
from repaint_batch.report.render import render
from repaint_batch.review.desk import PRESET_NAMES, Batch, Desk, Part, Side

SCRIPTS = ("gallery.js", "served.js", "viewer.js", "zoom.js", "bits.js", "masking.js", "verdicts.js", "page.js")
"""Files of the templates that make the page's one script, in order."""

_MOST_BODY_BYTES = 1 << 20
_MOST_MASK_BYTES = 1 << 25  # of the largest picture that is read one bit a pixel takes less
_TYPES = {"before": "image/webp", "after": "image/webp", "hole": "image/png"}
_FOR_GOOD = "private, max-age=86400, immutable"  # of an address that holds a hash of what is there
_RECTANGLE = re.compile(r"(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,4})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ReviewServer(ThreadingHTTPServer):
    """Serves a desk until `shutdown`.

    Args:
        desk: what is reviewed.
        port: on 127.0.0.1; 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, desk: Desk, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.desk = desk
        self.token = secrets.token_urlsafe(24)
        own = self.server_address[1]
        self.hosts = (f"127.0.0.1:{own}", f"localhost:{own}")
        script, self.script_hash = joined_script(SCRIPTS)
        self.page = gzip.compress(
            render(
                "review.html.j2",
                output=desk.output,
                kinds=(("open", "To do"), ("accept", "Accepted"), ("reject", "Rejected"), ("redo", "Redo"), ("", "All")),
                kinds_legend="Decision",
                presets=PRESET_NAMES,
                capped=None,
                script=script,
            ).encode()
        )

    @property
    def url(self) -> str:
        """Where the page is, token included."""
        return f"http://{self.hosts[0]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        path = self._admitted()
        if path is None:
            return
        if path == "":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page, zipped=True)
        elif path == "rows":
            self._attempt(lambda: self._answer(HTTPStatus.OK, "application/json", self.server.desk.rows(), zipped=True))
        else:
            self._attempt(lambda: self._show(path))

    def do_POST(self) -> None:
        # Read first, whatever is said then: an unread body would be taken for the next request.
        length = self.headers.get("Content-Length", "")
        most = _MOST_MASK_BYTES if (self._below_token() or "").startswith("masks/") else _MOST_BODY_BYTES
        if not (length.isascii() and length.isdigit()) or int(length) > most:
            self.close_connection = True
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has a length, of at most {most} bytes")
            return
        body = self.rfile.read(int(length))
        path = self._admitted()
        if path is None:
            return
        is_mask = path.startswith("masks/")
        if self.headers.get("Origin") not in [f"http://{host}" for host in self.server.hosts]:
            self._refuse(HTTPStatus.FORBIDDEN, "decisions are taken from this server's own page alone")
        elif self.headers.get("Content-Type") != ("image/png" if is_mask else "application/json"):
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "decisions are application/json, and masks image/png")
        elif is_mask:
            self._attempt(lambda: self._correct(path, body))
        elif path != "decisions":
            self._refuse(HTTPStatus.NOT_FOUND, "no such address")
        else:
            self._attempt(lambda: self._decide(body))

    def _admitted(self) -> str | None:
        """Return the path below the token; None, and an answer, where host or token are not this server's."""
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "open the address that `repaint-batch review` printed")
            return None
        path = self._below_token()
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND, "open the address that `repaint-batch review` printed; it changes every time")
        return path

    def _below_token(self) -> str | None:
        token, slash, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        return path if slash and hmac.compare_digest(token.encode(), self.server.token.encode()) else None

    def _show(self, path: str) -> None:
        """Answer with something of a row: KIND[/WHICH]/HASH OF ITS PICTURE/ITS ID."""
        kind, *which, digest, name = path.split("/") if path.count("/") > 1 else ("", "", "")
        name, desk = unquote(name), self.server.desk
        parts: dict[str, Part] = {part: part for part in get_args(Part)}
        sides: dict[str, Side] = {f"{side}-piece": side for side in get_args(Side)}
        match kind, which:
            case (_, []) if kind in parts and name:
                self._found(desk.picture(name, digest, parts[kind]), _TYPES[kind], _FOR_GOOD)
            case (_, [where]) if kind in sides and (found := _RECTANGLE.fullmatch(where)):
                left, top, width, height, divisor = map(int, found.groups())
                data = desk.piece(name, digest, sides[kind], (left, top, width, height, divisor))
                self._found(data, "image/png", _FOR_GOOD)
            case ("facts", []):
                facts = desk.facts(name, digest)
                self._found(None if facts is None else json.dumps(facts).encode(), "application/json")
            case ("mask", [mask]) if mask == "first" or _SHA256.fullmatch(mask):
                bits = desk.mask(name, digest, None if mask == "first" else mask)
                self._found(None if bits is None else gzip.compress(bits, 1), "application/octet-stream", _FOR_GOOD, zipped=True)
            case _:
                self._found(None, "")

    def _found(self, data: bytes | None, content_type: str, cache: str = "no-store", *, zipped: bool = False) -> None:
        if data is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such picture")
        else:
            self._answer(HTTPStatus.OK, content_type, data, cache=cache, zipped=zipped)

    def _correct(self, path: str, body: bytes) -> None:
        _, digest, name = path.split("/") if path.count("/") == 2 else ("", "", "")
        kept = self.server.desk.correct(unquote(name), digest, body)
        if kept is None:
            self._refuse(HTTPStatus.CONFLICT, "the picture was restored anew since this page was opened.")
        else:
            self._answer(HTTPStatus.OK, "application/json", json.dumps({"mask_sha256": kept}).encode())

    def _decide(self, body: bytes) -> None:
        try:
            values = json.loads(body)
        except ValueError as error:
            raise ConfigError(f"the body is no JSON: {error}") from error
        stale = self.server.desk.decide(parse_config(values, Batch, "decisions"))
        self._answer(HTTPStatus.OK, "application/json", json.dumps({"stale": stale}).encode())

    def _attempt(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        except (CommitUnknown, CommitFailed, DeltaError, OSError) as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except RepaintBatchError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._answer(status, "text/plain; charset=utf-8", redact(message).encode())

    def _answer(
        self, status: HTTPStatus, content_type: str, data: bytes, *, zipped: bool = False, cache: str = "no-store"
    ) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(data)),
            "Cache-Control": cache,
            "Content-Security-Policy": (
                "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; "
                f"script-src '{self.server.script_hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            **({"Content-Encoding": "gzip"} if zipped else {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        return "repaint-batch"

    def log_message(self, format: str, *args: object) -> None:
        return
