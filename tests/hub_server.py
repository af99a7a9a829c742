"""A model hub on loopback: answers what huggingface_hub asks (HEAD and GET of /OWNER/REPO/resolve/REVISION/FILE), and can fail."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """``files`` maps "owner/repo/file" to bytes; ``requests`` is what came: (method, path, Range, Authorization)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.url = ""
        self.store = ""
        self.cut_after: int | None = None  # bytes of each answer; what comes after a cut is refused
        self.refuse = False

    def gets(self) -> list[tuple[str, str | None]]:
        """Path and Range of the downloads so far."""
        return [(path, wanted) for method, path, wanted, _ in self.requests if method == "GET"]


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub; small files are answered by itself, safetensors and ONNX by a store on another host name, as the real one does."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(False)

        def do_GET(self) -> None:
            self._answer(True)

        def _answer(self, body: bool) -> None:
            path, wanted = unquote(self.path), self.headers["Range"]
            hub.requests.append((self.command, path, wanted, self.headers["Authorization"]))
            if hub.refuse:
                return self._send(503, {}, b"")
            if path.startswith("/store/"):
                name = path.removeprefix("/store/")
            else:
                owner, repo, _, revision, *rest = path.removeprefix("/").split("/")
                name = "/".join((owner, repo, *rest))
                if not any(key.startswith(f"{owner}/{repo}/") for key in hub.files):
                    return self._send(404, {"X-Error-Code": "RepoNotFound"}, b"")
                if revision not in ("main", COMMIT):
                    return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"")
                if name not in hub.files:
                    return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"")
            data = hub.files[name]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            if not path.startswith("/store/") and name.endswith((".safetensors", ".onnx")):
                headers |= {"X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
                return self._send(302, headers | {"Location": f"{hub.store}/store/{name}"}, b"")
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if wanted:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206 if wanted else 200, headers, data[start:], body)

        def _send(self, status: int, headers: dict[str, str], data: bytes, body: bool = True) -> None:
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(data))}).items():
                self.send_header(key, value)
            self.end_headers()
            if body and self.command == "GET":
                cut = hub.cut_after is not None and len(data) > hub.cut_after
                self.wfile.write(data[: hub.cut_after] if cut else data)
                if cut:
                    hub.refuse, self.close_connection = True, True

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url, hub.store = f"http://127.0.0.1:{server.server_port}", f"http://localhost:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
