"""The Kubernetes coordination API on loopback, as far as a Lease goes: names taken, resourceVersion conflicts, tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "let-me-in"


class LeaseServer(ThreadingHTTPServer):
    """``leases``: path -> object; ``requests``: (method, status) in their order; ``away``: answers 503."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.leases: dict[str, dict] = {}
        self.requests: list[tuple[str, int]] = []
        self.version, self.away, self.guard = 0, False, threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, token: str, body: dict) -> tuple[int, dict]:
        with self.guard:
            if self.away:
                return 503, {}
            if token != f"Bearer {TOKEN}":
                return 403, {}
            if method == "POST":
                path = f"{path}/{body['metadata']['name']}"
                if path in self.leases:
                    return 409, {}
            elif path not in self.leases:
                return 404, {}
            if method == "GET":
                return 200, self.leases[path]
            if method == "PUT" and body["metadata"]["resourceVersion"] != self.leases[path]["metadata"]["resourceVersion"]:
                return 409, {}
            self.version += 1
            body["metadata"]["resourceVersion"] = str(self.version)
            self.leases[path] = body
            return 201 if method == "POST" else 200, body


class _Handler(BaseHTTPRequestHandler):
    server: LeaseServer

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        status, answer = self.server.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
        self.server.requests.append((self.command, status))
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _serve

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[LeaseServer]:
    """A running server."""
    server = LeaseServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
