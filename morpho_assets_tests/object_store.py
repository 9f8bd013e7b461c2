"""An S3 server on loopback: moto's, to which the tests write with boto3 and from which the code reads with s3fs.

Between it and the code lies a `Network`, which can be told what to do to the requests that come.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Fault = Literal[
    "refused",  # the server cannot take the request: 500
    "slow down",  # nor so many: 503
    "forbidden",  # 403
    "missing",  # 404
    "wrong key",  # 403, with S3's code for a key that it does not know
    "unknown",  # 501: the server does not know the request
    "reset",  # the connection breaks before the server has seen the request
    "lost",  # it breaks after the server has done what was asked, before it has answered
    "truncated",  # it breaks in the middle of the answer
    "garbled",  # the answer's last byte is another
    "nonsense",  # another server answers, with a page
    "late",  # the answer takes a tenth of a second longer
]
_ANSWERS = {
    "refused": ("500 Internal Server Error", "InternalError"),
    "slow down": ("503 Slow Down", "SlowDown"),
    "forbidden": ("403 Forbidden", "AccessDenied"),
    "missing": ("404 Not Found", "NoSuchKey"),
    "wrong key": ("403 Forbidden", "InvalidAccessKeyId"),
    "unknown": ("501 Not Implemented", "NotImplemented"),
}


@dataclass
class Weather:
    """What a bad network does by itself: to which share of all requests each fault happens. A late answer is `late`
    seconds late. `met` counts what happened."""

    shares: Mapping[Fault, float]
    seed: int = 0
    late: float = 0.1
    met: Counter[Fault] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def __call__(self) -> Fault | None:
        at = self._rng.random()
        for fault, share in self.shares.items():
            at -= share
            if at < 0:
                self.met[fault] += 1
                return fault
        return None


@dataclass
class Network:
    """WSGI around moto's. `requests` are the method and path of all that came; `spoil` says what is done to them, and
    `weather` to those of which it says nothing. An object whose key ends like one of `forbidden` or `missing` is so for
    ever. Of objects that are created where there must be none, the answer to every `lose_every`-th that succeeds is
    lost."""

    server: Callable[..., Iterable[bytes]]
    requests: list[tuple[str, str]] = field(default_factory=list)
    lose_every: int = 0
    weather: Weather | None = None
    forbidden: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    _created: int = 0
    _pending: list[Fault | None] = field(default_factory=list)
    _method: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _puts: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def spoil(self, *faults: Fault | None, method: str = "") -> Iterator[list[tuple[str, str]]]:
        """Do this to the next requests (of one method, or of all), one each; yields the requests that come."""
        with self._lock:
            self.requests.clear()
            self._pending, self._method = list(faults), method
        try:
            yield self.requests
        finally:
            self._pending = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        with self._lock:
            self.requests.append((method, environ["PATH_INFO"]))
            fault = self._pending.pop(0) if self._pending and self._method in ("", method) else None
            fault = fault or self._lasting(environ["PATH_INFO"]) or (self.weather() if self.weather else None)
        if fault == "reset":
            return _broken(environ)
        if fault in _ANSWERS:
            return _answer(environ, start, *_ANSWERS[fault])
        if fault == "late":
            time.sleep(self.weather.late if self.weather else 0.1)
        status, headers, body = self._served(environ, method)
        if fault == "lost" or (self.lose_every and self._lost(environ, status)):
            return _broken(environ)
        if fault == "nonsense":
            body = b"<html><body>Please log in"
            headers = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
        if fault == "garbled" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        start(status, headers)
        return _half(environ, body) if fault == "truncated" else [body]

    def _lasting(self, path: str) -> Fault | None:
        """What is wrong with an object for ever."""
        if self.forbidden and path.endswith(self.forbidden):
            return "forbidden"
        return "missing" if self.missing and path.endswith(self.missing) else None

    def _lost(self, environ: dict[str, Any], status: str) -> bool:
        if "HTTP_IF_NONE_MATCH" not in environ or not status.startswith("200"):
            return False
        with self._lock:
            self._created += 1
            return self._created % self.lose_every == 0

    def _served(self, environ: dict[str, Any], method: str) -> tuple[str, list[tuple[str, str]], bytes]:
        found: list[Any] = []
        # moto looks whether there is an object, and then puts it; S3 does so in one step
        with self._puts if method == "PUT" else nullcontext():
            body = b"".join(self.server(environ, lambda status, headers, *_: found.extend([status, headers])))
        return found[0], list(found[1]), body


def _answer(environ: dict[str, Any], start: Callable[..., Any], status: str, code: str) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _broken(environ: dict[str, Any]) -> list[bytes]:
    """Break the connection without an answer."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


def _half(environ: dict[str, Any], body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    _broken(environ)


@dataclass(frozen=True)
class ObjectStore:
    """`url` is the endpoint; `client` a boto3 client that may write; `network` lies before the server."""

    url: str
    client: Any
    network: Network

    def create(self, bucket: str) -> None:
        self.client.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Put an object that anybody may read."""
        self.client.put_object(Bucket=bucket, Key=key, Body=body, ACL="public-read")

    def put_folder(self, bucket: str, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(bucket, str(path.relative_to(folder)), path.read_bytes())

    @property
    def options(self) -> dict[str, Any]:
        """fsspec's options for one who may write."""
        return {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": self.url}}


@contextmanager
def serve() -> Iterator[ObjectStore]:
    """Serve until the block ends."""
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    network = Network(server._server.app)
    server._server.app = network
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    secret = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    try:
        yield ObjectStore(url, boto3.client("s3", endpoint_url=url, **secret), network)
    finally:
        server.stop()
