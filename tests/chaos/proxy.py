"""An S3 service that misbehaves: a proxy on loopback that harms some of the requests which pass through it.

Which request is harmed, and how, is a function of a seed and of how many came before it, so that a seed can be run again.
Signed requests stay valid: the host that clients signed is passed on.
"""

import asyncio
import contextlib
import itertools
import random
import re
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "te", "upgrade", "content-length"}
_SIGNER = re.compile(r"Credential=([^/]+)/")
_NOW = struct.pack("ii", 1, 0)  # SO_LINGER: a closed socket sends RST


class Fault(StrEnum):
    """What may happen to a request."""

    ERROR_500 = "500"
    ERROR_503 = "503"
    RESET = "reset"  # before it is performed
    TRUNCATED = "truncated"  # the body ends early
    CUT = "cut"  # likewise, and the headers lie along: only a checksum can tell
    FLIPPED = "flipped"  # one bit of the body, of an answer or of an upload
    LOST = "lost acknowledgement"  # performed, and then a reset
    SLOW = "slow"
    HANGING = "hanging"  # no answer, ever


_READS = (Fault.ERROR_500, Fault.ERROR_503, Fault.RESET, Fault.TRUNCATED, Fault.CUT, Fault.FLIPPED, Fault.SLOW)
_WRITES = (Fault.ERROR_500, Fault.ERROR_503, Fault.RESET, Fault.FLIPPED, Fault.LOST, Fault.LOST, Fault.SLOW)


@dataclass(frozen=True)
class Exchange:
    """A request, for those who watch.

    Attributes:
        method: GET, PUT ...
        path: bucket, key and query, as sent.
        port: of the client.
        access_key: by which it is signed; empty if it is not.
        performed: False: it has just come in. True: the service has answered, and the client does not know yet.
        host: address of the client.
        signed_at: when, by the client's clock, as YYYYMMDDTHHMMSSZ; empty if it is not signed.
    """

    method: str
    path: str
    port: int
    access_key: str
    performed: bool
    host: str = ""
    signed_at: str = ""


@dataclass(frozen=True)
class Refusal:
    """An error in place of a store's answer."""

    status: int
    code: str
    message: str = "a planted fault"

    def response(self) -> web.Response:
        """Return it as S3 words it."""
        text = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        return web.Response(
            status=self.status, text=f'<?xml version="1.0" encoding="UTF-8"?>{text}', content_type="application/xml"
        )


@dataclass
class FaultyProxy:
    """The proxy.

    Attributes:
        target: URL of the service behind it.
        seed: decides what happens to which request.
        rate: share of requests that are harmed.
        hang_one_in: of those, how many are left hanging.
        watch: told of every exchange, twice; it may kill whoever sent it, and says whether the connection is to be dropped.
        refuse: asked about every exchange that comes in; returns with what it is refused, if it is.
        rotten: part of the paths of objects that the service has not kept well: of them the same bit is always wrong.
        faults: how often each kind has happened.
        kinds: what may happen; by default everything.
        methods: of the requests to which it may happen; by default all.
        host: address on which it listens.
        tls: with what it does so; None: plain HTTP.
    """

    target: str
    seed: int = 0
    rate: float = 0.0
    hang_one_in: int = 0
    watch: Callable[[Exchange], bool] = lambda exchange: False
    refuse: Callable[[Exchange], Refusal | None] = lambda exchange: None
    rotten: str = ""
    faults: Counter[Fault] = field(default_factory=Counter)
    kinds: tuple[Fault, ...] = tuple(Fault)
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    url: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __enter__(self) -> "FaultyProxy":
        """Listen on a free port."""
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True, name="proxy")
        self._thread.start()
        started.wait(30)
        assert self.url, "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def harmed(self) -> int:
        """Requests that something happened to."""
        return sum(self.faults.values())

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._stop())

    async def _start(self) -> None:
        self._session = ClientSession(auto_decompress=False, connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None))
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        listening = socket.create_server((self.host, 0), backlog=512)
        self.url = f"{'https' if self.tls else 'http'}://{self.host}:{listening.getsockname()[1]}"
        await web.SockSite(self._runner, listening, ssl_context=self.tls).start()

    async def _stop(self) -> None:
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    def _drawn(self, method: str) -> tuple[Fault | None, random.Random]:
        chance = random.Random(f"{self.seed}/{next(self._numbers)}")
        if chance.random() >= self.rate or method not in self.methods:
            return None, chance
        if self.hang_one_in and chance.random() < 1 / self.hang_one_in and Fault.HANGING in self.kinds:
            return Fault.HANGING, chance
        fitting = [kind for kind in (_READS if method in ("GET", "HEAD") else _WRITES) if kind in self.kinds]
        return (chance.choice(fitting) if fitting else None), chance

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        peer = request.transport.get_extra_info("peername") if request.transport else None
        signer = _SIGNER.search(request.headers.get("Authorization", ""))
        path, (host, port) = request.raw_path, peer[:2] if peer else ("", 0)
        exchange = Exchange(
            request.method, path, port, signer.group(1) if signer else "",
            performed=False, host=host, signed_at=request.headers.get("x-amz-date", ""),
        )  # fmt: skip
        if self.watch(exchange):
            return _reset(request)
        if (refusal := self.refuse(exchange)) is not None:
            return refusal.response()
        fault, chance = self._drawn(request.method)
        if fault in (Fault.TRUNCATED, Fault.CUT, Fault.FLIPPED) and (request.method == "HEAD" or not _is_object(path)):
            fault = Fault.ERROR_500  # nothing to harm, or no object
        if fault is not None:
            self.faults[fault] += 1
        match fault:
            case Fault.ERROR_500 | Fault.ERROR_503:
                return Refusal(int(fault), {Fault.ERROR_500: "InternalError", Fault.ERROR_503: "SlowDown"}[fault]).response()
            case Fault.RESET:
                return _reset(request)
            case Fault.HANGING:
                await asyncio.sleep(3600)
            case Fault.SLOW:
                await asyncio.sleep(chance.uniform(0.2, 1))
            case Fault.FLIPPED if body:
                body = _with_a_bit_flipped(body, chance)
        status, headers, answer = await self._forwarded(request, body)
        if self.watch(replace(exchange, performed=True)) or fault is Fault.LOST:
            return _reset(request)
        if request.method == "GET" and answer and status < 300:
            if self.rotten and self.rotten in path:
                answer = _with_a_bit_flipped(answer, random.Random(0))
            if fault is Fault.FLIPPED:
                answer = _with_a_bit_flipped(answer, chance)
            elif fault is Fault.CUT:
                answer = answer[: chance.randrange(len(answer))]
                headers["Content-Length"] = str(len(answer))
        with contextlib.suppress(ConnectionError):  # the client has gone
            return await _sent(request, fault, chance, web.StreamResponse(status=status, headers=headers), answer)
        return web.Response()

    async def _forwarded(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        skipped = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
        url = URL(self.target + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, skip_auto_headers=skipped, allow_redirects=False
        ) as answered:
            answer = await answered.read()
            kept = {name: value for name, value in answered.headers.items() if name.lower() not in _HOP_BY_HOP}
            kept["Content-Length"] = answered.headers.get("Content-Length", str(len(answer)))
            return answered.status, kept, answer


async def _sent(
    request: web.Request, fault: Fault | None, chance: random.Random, response: web.StreamResponse, answer: bytes
) -> web.StreamResponse:
    await response.prepare(request)
    if fault is Fault.TRUNCATED and len(answer) > 1:
        await response.write(answer[: chance.randrange(1, len(answer))])
        return _reset(request)
    if request.method != "HEAD" and response.status not in (204, 304):
        await response.write(answer)
        await response.write_eof()
    return response


def _is_object(path: str) -> bool:
    return "?" not in path or "x-id=" in path  # a listing is a query of its bucket


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
        request.transport.abort()
    return web.Response()  # which goes nowhere


def _with_a_bit_flipped(data: bytes, chance: random.Random) -> bytes:
    at, bit = chance.randrange(len(data)), chance.randrange(8)
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
