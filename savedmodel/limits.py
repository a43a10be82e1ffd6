"""Limits of HTTP requests, for the servers of `serve` and `app`."""

import asyncio
import io
from contextlib import nullcontext
from typing import Any

# The body of a request must arrive within this time, its header sooner.
BODY_SECONDS = 120
HEADER_SECONDS = 10
# The bodies of all requests that arrive, wait or are answered have together at most this size.
MAX_HELD_BYTES = 256 << 20
LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


def middleware(host: str, max_bytes: int, at_once: int | None = None) -> list:
    """Returns the middleware of a Starlette application that listens on `host`.

    A request's body has at most `max_bytes`, and all bodies together have 256 MB. `at_once` is the
    number of requests that are answered at the same time. A server that only this machine can reach
    answers only requests for a local name, because a page in a browser could send others to it
    under the name of a foreign host.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    limits = Middleware(Limited, max_bytes=max_bytes, at_once=at_once)
    if host not in LOCAL:
        return [limits]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL, www_redirect=False), limits]


class Limited:
    """ASGI middleware that reads the bodies of requests, and refuses large and slow ones."""

    def __init__(self, app: Any, max_bytes: int, at_once: int | None = None):
        self._app = app
        self._max_bytes = max_bytes
        self._turn: Any = asyncio.Semaphore(at_once) if at_once else nullcontext()
        self._held = 0  # bytes of the bodies of all requests

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answers a request as the application does, or with status 408, 413 or 503."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = io.BytesIO()
        try:
            await self._answer(scope, receive, send, body)
        finally:
            self._held -= body.tell()

    async def _answer(self, scope: dict, receive: Any, send: Any, body: io.BytesIO) -> None:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                messages = [await self._body(receive, body)]
        except TimeoutError:
            await _refuse(408, f"The request took more than {BODY_SECONDS} seconds", send)
            return
        except ValueError as error:
            status, reason = error.args
            await _refuse(status, reason, send)
            return

        async def receive_again() -> dict:
            return messages.pop() if messages else await receive()

        async with self._turn:
            await self._app(scope, receive_again, send)

    async def _body(self, receive: Any, body: io.BytesIO) -> dict:
        """Returns the whole body as one message; a `ValueError` has a status and a reason."""
        message: dict[str, Any] = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            if message["type"] != "http.request":  # the client has gone
                return message
            self._held += body.write(message.get("body", b""))
            if body.tell() > self._max_bytes:
                raise ValueError(413, f"A request has at most {self._max_bytes >> 20} MB")
            if self._held > MAX_HELD_BYTES:
                raise ValueError(503, "The server is busy. Try again later")
        return {"type": "http.request", "body": body.getvalue(), "more_body": False}


async def _refuse(status: int, reason: str, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})


def impatient_protocol() -> type:
    """Returns a protocol for uvicorn that closes connections without the header of a request.

    Uvicorn itself waits without a limit for the first byte of a connection, and for the rest of a
    header.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ImpatientProtocol(H11Protocol):
        """Closes a connection if the next header does not arrive in time, or its place is needed.

        At the limit of connections, a new one takes the place of that which has waited longest for
        the rest of its request. Otherwise, idle connections would keep all others out.
        """

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.timer = self._limit()
            there: Any = self.connections
            idle = [one for one in there if one.is_waiting() and one is not self]
            if idle and self.limit_concurrency and len(there) >= self.limit_concurrency:
                oldest = min(idle, key=lambda one: one.timer.when())
                oldest.transport.close()
                there.discard(oldest)  # uvicorn would count it in the next request

        def is_waiting(self) -> bool:
            """Returns whether the client has not sent a whole request that is to be answered."""
            return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

        def on_response_complete(self) -> None:
            self.timer.cancel()
            self.timer = self._limit()
            super().on_response_complete()

        def connection_lost(self, error: Exception | None) -> None:
            self.timer.cancel()
            super().connection_lost(error)

        def _limit(self) -> asyncio.TimerHandle:
            loop = asyncio.get_running_loop()
            return loop.call_later(HEADER_SECONDS, self._close_if_waiting)

        def _close_if_waiting(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return ImpatientProtocol
