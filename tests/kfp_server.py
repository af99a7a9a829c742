"""A small real HTTP server that answers what kfp's client asks of Kubeflow Pipelines (API v2beta1)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/apis/v2beta1"


@contextmanager
def serving() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address and, in order, what was posted: {"path", "body"}."""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            known = {f"{PREFIX}/healthz": {"multi_user": False}, f"{PREFIX}/experiments": {"experiments": [], "total_size": 0}}
            self._answer(*((200, known[path]) if path in known else (404, {"error": f"no {path}"})))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append({"path": self.path, "body": body})
            made = {
                f"{PREFIX}/experiments": {"experiment_id": "experiment-1", "display_name": body.get("display_name")},
                f"{PREFIX}/runs": {"run_id": "run-1", "display_name": body.get("display_name"), "state": "PENDING"},
            }
            self._answer(*((200, made[self.path]) if self.path in made else (404, {"error": f"no {self.path}"})))

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
