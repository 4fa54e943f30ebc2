# Derived by scripts/derive_sync.py. Change stigmer/_aio and derive again.
"""Requests over a connection: sent, tried again, resumed."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import httpx

from stigmer import _discovery, _resilience, _wire
from stigmer._sync import _runtime
from stigmer._operations import Call, Stream, Upload
from stigmer._sse import Events
from stigmer.errors import OperatingSystemError, StigmerError, UnavailableError, error_of

T = TypeVar("T")

_CONNECTING = 10.0
_SENDING = 300.0
_KEPT = 64
"""Connections that are kept open for the next request."""


class Transport:
    """One server, found when it is first needed, and again when it is gone."""

    def __init__(self, endpoint: str | None, token: str | None, autostart: bool) -> None:
        self._find = functools.partial(_discovery.find, endpoint, token, autostart=autostart)
        self._address: _discovery.Address | None = None
        self._closed = False
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        """Begin without a connection: a new transport, or one in a process that was forked.

        A forked process has its parent's connections, and locks that nobody in it will release.
        """
        self._lock = _runtime.Lock()
        self._http: _runtime.HttpClient | None = None
        self._socket: _runtime.HttpTransport | None = None
        self._process = os.getpid()

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._http is not None:
            self._http.close()

    def address(self) -> _discovery.Address:
        """Return where the server is."""
        self._connected(None)
        assert self._address is not None
        return self._address

    def server(self) -> int | None:
        """Return which server answers, one after the other of the same place told apart.

        None if that cannot be known or none answers. That of another machine is always the same.
        """
        socket = (self.address()).socket
        if socket is None:
            return 0
        return _runtime.in_thread(functools.partial(_discovery.serves, socket))

    def _connected(self, failed: _runtime.HttpClient | None) -> _runtime.HttpClient:
        """Return a client; another one if this one failed."""
        http = self._http
        if http is not None and http is not failed and not self._closed:
            return http
        with self._lock:
            if self._closed:
                raise UnavailableError("the client is closed")
            if self._http is None or self._http is failed:
                address = _runtime.in_thread(self._find)
                if self._http is None or address != self._address:
                    self._address = address
                    self._socket = _socket(address)
                    self._http = _client(address, self._socket)
            return self._http

    def call(self, call: Call[T]) -> T:
        """Send a request and return the answer."""
        content = _wire.write_json(call.body)
        delays = _resilience.delays()
        failed: _runtime.HttpClient | None = None
        while True:
            try:
                http = self._connected(failed)
                response = self._post(http, f"/v1/{call.method}", content, call.timeout)
                if response.status_code == httpx.codes.OK:
                    return call.read(response.content)
                raise _error(response, response.content)
            except (httpx.TransportError, StigmerError) as error:
                failed = self._http
                delay = next(delays, None)
                if delay is None or not _resilience.may_repeat(error, call.repeatable):
                    raise self._verdict(error, call.repeatable and not call.changes) from error
            _runtime.sleep(delay)

    def _post(
        self, http: _runtime.HttpClient, path: str, content: bytes, answer: float | None
    ) -> httpx.Response:
        """Send a request and read the answer.

        The daemon of this home is asked without what only others need (redirects, cookies,
        proxies), which takes as long as all else that is done here for a command.
        """
        timeout = httpx.Timeout(_CONNECTING, read=answer, write=_SENDING)
        address, socket = self._address, self._socket
        if address is None or socket is None:
            return http.post(path, content=content, timeout=timeout)
        request = httpx.Request(
            "POST",
            _url(address.url + path),
            headers=_headers(address),
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )
        response = socket.handle_request(request)
        try:
            response.read()
        finally:
            response.close()
        return response

    def stream(self, asked: Stream[T]) -> Generator[T, None, None]:
        """Send a request and give the answers; go on where a connection broke."""
        body: Mapping[str, Any] = asked.body
        process = self._process
        delays = _resilience.delays()
        failed: _runtime.HttpClient | None = None
        while True:
            begun = False
            try:
                http = self._connected(failed)
                events = Events()
                with http.stream(
                    "POST",
                    f"/v1/{asked.method}",
                    content=_wire.write_json(body),
                    headers={"accept": "text/event-stream"},
                    timeout=httpx.Timeout(_CONNECTING, read=_resilience.QUIET, write=_SENDING),
                ) as response:
                    if response.status_code != httpx.codes.OK:
                        raise _error(response, response.read())
                    begun = True
                    for chunk in response.iter_bytes():
                        for name, data in events.feed(chunk):
                            if name == "end":
                                return
                            if name == "error":
                                raise error_of(_wire.read_json(data), status=200)
                            value = asked.read(data)
                            if asked.resumable:
                                body = asked.since(getattr(value, "next"))  # noqa: B009
                                delays = _resilience.delays()
                            yield value
                            if self._process != process:
                                raise UnavailableError(
                                    "the stream was begun before a fork, and is the parent's",
                                    hint="ask for it anew in the process that reads it",
                                )
                raise httpx.RemoteProtocolError("the stream ended before its end")
            except (httpx.TransportError, StigmerError) as error:
                failed = self._http
                delay = next(delays, None)
                again = (asked.resumable or not begun) and self._process == process
                if isinstance(error, StigmerError):
                    again = again and isinstance(error, UnavailableError)
                if delay is None or not again:
                    raise self._verdict(error, repeatable=True, reading=True) from error
            _runtime.sleep(delay)

    def download(self, body: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Give the bytes of a download."""
        failed: _runtime.HttpClient | None = None
        while True:
            http = self._connected(failed)
            try:
                with http.stream(
                    "POST",
                    "/v1/transfers/download",
                    content=_wire.write_json(body),
                    headers={"accept": "application/octet-stream"},
                    timeout=httpx.Timeout(_CONNECTING, read=_SENDING, write=_SENDING),
                ) as response:
                    if response.status_code != httpx.codes.OK:
                        raise _error(response, response.read())
                    for chunk in response.iter_bytes():
                        yield chunk
                return
            except httpx.TransportError as error:
                # A daemon that nobody used is gone.
                if failed is None and _resilience.was_not_sent(error):
                    failed = http
                    continue
                raise self._verdict(error, repeatable=True, reading=True) from error

    def upload(self, asked: Upload[T], content: _runtime.Content) -> T:
        """Send bytes and return the answer. They are sent once: they may be gone when read."""
        self.address()
        failed: _runtime.HttpClient | None = None
        while True:
            http = self._connected(failed)
            try:
                response = http.post(
                    f"/v1/{asked.method}?{asked.query}",
                    content=_runtime.body(content),
                    headers={"content-type": "application/octet-stream"},
                    timeout=httpx.Timeout(_CONNECTING, read=_SENDING, write=_SENDING),
                )
                break
            except httpx.TransportError as error:
                # A daemon that nobody used is gone. Nothing was read of the content yet.
                if failed is None and _resilience.was_not_sent(error):
                    failed = http
                    continue
                raise self._verdict(error, repeatable=False) from error
        if response.status_code != httpx.codes.OK:
            raise _error(response, response.content)
        return asked.read(response.content)

    def _verdict(
        self, error: httpx.TransportError | StigmerError, repeatable: bool, reading: bool = False
    ) -> StigmerError:
        if isinstance(error, StigmerError):
            return error
        return _resilience.verdict(error, repeatable, str(self._address), reading=reading)


_ALL: weakref.WeakSet[Transport] = weakref.WeakSet()
"""Every transport there is."""


def _after_fork() -> None:
    for transport in list(_ALL):
        transport._begin()


os.register_at_fork(after_in_child=_after_fork)


_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT)
_url = functools.cache(httpx.URL)


def _headers(address: _discovery.Address) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if address.token is not None:
        headers["authorization"] = f"Bearer {address.token}"
    return headers


def _socket(address: _discovery.Address) -> _runtime.HttpTransport | None:
    if address.socket is None:
        return None
    return _runtime.HttpTransport(uds=address.socket, limits=_LIMITS, trust_env=False)


def _client(
    address: _discovery.Address, socket: _runtime.HttpTransport | None
) -> _runtime.HttpClient:
    return _runtime.HttpClient(
        base_url=address.url,
        headers=_headers(address),
        transport=socket,
        limits=_LIMITS,
        # A proxy of the environment is not asked for what is on this machine.
        trust_env=address.url.startswith("https:"),
    )


def _error(response: httpx.Response, content: bytes) -> StigmerError:
    try:
        return error_of(_wire.read_json(content), status=response.status_code)
    except OperatingSystemError:
        return error_of(None, status=response.status_code)
