# SPDX-License-Identifier: Apache-2.0
"""`/metrics`, `/livez` and `/readyz` over HTTP, on threads of their own."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server
from prometheus_client.exposition import ThreadingWSGIServer

from matting_gateway.readiness import Readiness

# A loop that takes longer for one step serves nobody.
_LOOP_PATIENCE_S = 5.0
_PATHS = ("/metrics", "/livez", "/readyz")
_StartResponse = Callable[..., Any]


class _Handler(WSGIRequestHandler):
    """One connection. Writes no log lines of its own, and waits for nobody longer than that."""

    timeout = 10.0

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing: a request's line is the caller's text."""


class Exposition:
    """Serves a registry as Prometheus text, and tells whether the gateway lives and whether it is ready.

    Owns the HTTP server and its thread. `/livez` is answered by the event loop itself, so that it says that the loop
    turns; `/readyz` by `ask`, on the loop. Nothing else is there.

    Args:
        registry: What `/metrics` shows.
        ask: Tells how the gateway is; called on the event loop.
        may_read: Asked with the `Authorization` header's value ("" if there is none); where it says no, `/metrics` is
            401 and holds nothing, and `/readyz` gives no reasons.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        ask: Callable[[], Readiness],
        may_read: Callable[[str], bool] | None = None,
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._registry = registry
        self._ask = ask
        self._may_read = may_read
        self._server: ThreadingWSGIServer | None = None
        self._thread: Any = None

    @property
    def port(self) -> int:
        """The port in use; 0 while not started."""
        return self._server.server_port if self._server else 0

    def start(self, host: str, port: int) -> None:
        """Listen. Port 0 takes a free one. To be called on the event loop that `/livez` is about.

        Raises:
            OSError: The address cannot be listened on.
        """
        self._loop = asyncio.get_running_loop()
        try:
            server, self._thread = start_http_server(port, addr=host, registry=self._registry)
        except (OSError, OverflowError) as exc:
            why = "the port is taken" if getattr(exc, "errno", 0) == errno.EADDRINUSE else _why(exc)
            raise OSError(f"Cannot listen on {host}:{port}: {why}.") from exc
        self._server = server  # type: ignore[assignment]  # it is a ThreadingWSGIServer
        server.RequestHandlerClass = _Handler
        server.set_app(self._answer)

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    # --- on the threads of requests ---------------------------------------------------------

    def _answer(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path not in _PATHS:
            return _text(start_response, "404 Not Found", f"There are {', '.join(_PATHS)}.")
        if environ.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
            return _text(start_response, "405 Method Not Allowed", "GET it.", ("Allow", "GET, HEAD"))
        allowed = self._may_read is None or self._may_read(environ.get("HTTP_AUTHORIZATION", ""))
        if path == "/metrics":
            if not allowed:
                return _text(start_response, "401 Unauthorized", "", ("WWW-Authenticate", "Bearer"))
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        readiness = self._from_loop()
        if readiness is None:
            text = f"The event loop has not answered within {_LOOP_PATIENCE_S:g} s."
            return _text(start_response, "503 Service Unavailable", text)
        if path == "/livez":
            return _text(start_response, "200 OK", "alive")
        told = str(readiness) if allowed else readiness.state.value
        return _text(start_response, "200 OK" if readiness.ready else "503 Service Unavailable", told)

    def _from_loop(self) -> Readiness | None:
        """Return how the gateway is, asked on its loop; None where that does not turn."""
        answer: Future[Readiness] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._ask())
            except BaseException as exc:
                answer.set_exception(exc)
                raise

        try:
            self._loop.call_soon_threadsafe(ask)
            return answer.result(_LOOP_PATIENCE_S)
        except (TimeoutError, RuntimeError):  # RuntimeError: the loop is closed
            return None


def _why(exc: Exception) -> str:
    number = getattr(exc, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else str(exc)


def _text(start_response: _StartResponse, status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    body = f"{text}\n".encode() if text else b""
    plain = ("Content-Type", "text/plain; charset=utf-8")
    start_response(status, [plain, ("Content-Length", str(len(body))), ("Cache-Control", "no-store"), *headers])
    return [body]
