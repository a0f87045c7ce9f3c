# SPDX-License-Identifier: Apache-2.0
"""`/metrics` over HTTP, on a thread of its own."""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server
from prometheus_client.exposition import ThreadingWSGIServer


class Exposition:
    """Serves a registry as Prometheus text.

    `may_read` is asked with the `Authorization` header's value ("" if there is none); where it
    says no, the answer is 401 and holds nothing.
    """

    def __init__(self, registry: CollectorRegistry, *, may_read: Callable[[str], bool] | None = None) -> None:
        self._registry = registry
        self._may_read = may_read
        self._server: ThreadingWSGIServer | None = None
        self._thread: Any = None

    @property
    def port(self) -> int:
        """The port in use; 0 while not started."""
        return self._server.server_port if self._server else 0

    def start(self, host: str, port: int) -> None:
        """Listen. Port 0 takes a free one.

        Raises:
            OSError: The address cannot be listened on.
        """
        self._server, self._thread = start_http_server(port, addr=host, registry=self._registry)  # type: ignore[assignment]  # it is a ThreadingWSGIServer
        if self._may_read is not None and self._server is not None:
            self._server.set_app(self._guarded)

    def _guarded(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._may_read is not None and not self._may_read(environ.get("HTTP_AUTHORIZATION", "")):
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
            return [b""]
        answer: Iterable[bytes] = make_wsgi_app(self._registry)(environ, start_response)
        return answer

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None
