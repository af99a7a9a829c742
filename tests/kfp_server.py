"""A real HTTP server that answers kfp's client as Kubeflow Pipelines' API v2beta1 does, keeps state, and fails when told to.

Written after the client's generated models and the public sources of the API server: field names as in the .proto files,
int64 as text, enums by name, times in RFC 3339, errors as grpc-gateway writes them ({code, message, error, details}).
Whatever it is sent that the API has no field or path for is an error.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
import yaml

PREFIX = "/apis/v2beta1"
GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
LISTS = {"experiments": "experiment_id", "pipelines": "pipeline_id", "runs": "run_id", "recurringruns": "recurring_run_id"}
MODELS = {
    "experiments": api.V2beta1Experiment,
    "pipelines": api.V2beta1Pipeline,
    "runs": api.V2beta1Run,
    "recurringruns": api.V2beta1RecurringRun,
}
LISTED = {"recurringruns": "recurringRuns"}  # so written in the .proto, unlike every other field
Entry = dict[str, Any]


class Refusal(Exception):
    """An error that the API answers: HTTP status and message."""


@dataclass
class Fault:
    """The next ``times`` requests that match fail: before or after the server did what they ask."""

    method: str
    path: str
    status: int
    times: int
    done: bool  # the request is carried out, and only its answer is lost or an error
    after: int  # requests that match and still go well
    delay: float


@dataclass
class KfpServer:
    """State, by id in order of making; what was asked; and what is to fail."""

    host: str = ""
    token: str | None = None
    experiments: dict[str, Entry] = field(default_factory=dict)
    pipelines: dict[str, Entry] = field(default_factory=dict)
    versions: dict[str, Entry] = field(default_factory=dict)
    runs: dict[str, Entry] = field(default_factory=dict)
    recurringruns: dict[str, Entry] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    most_enabled: int = 0  # schedules of one name that were on at one time
    # What each look at a run finds, one after another: (state, {stage: state}, message)
    progress: list[tuple[str, dict[str, str], str]] = field(default_factory=lambda: [("SUCCEEDED", {}, "")])

    def __post_init__(self) -> None:
        self.numbers, self.lock, self.looks = count(1), threading.RLock(), dict[str, int]()

    def fail(self, method: str, path: str, status: int, times: int = 1, *, done: bool = False, after: int = 0, delay: float = 0) -> None:
        """Let requests fail whose path (without the prefix) matches; status 0 closes the connection, 302 leads to a login page."""
        self.faults.append(Fault(method, path, status, times, done, after, delay))

    def enabled(self, name: str) -> list[str]:
        """Ids of the schedules of that name that are on."""
        return [key for key, entry in self.recurringruns.items() if entry["display_name"] == name and entry["mode"] == "ENABLE"]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Entry:
        """What the API answers. Raises Refusal."""
        kind, _, rest = path.removeprefix("/").partition("/")
        if (method, path) == ("GET", "/healthz"):
            return {"multi_user": False}
        if method == "POST" and path == "/pipelines/upload_version":
            return self.add_version(query, body)
        versions = re.fullmatch(r"([^/]+)/versions", rest) if kind == "pipelines" else None
        if versions and method == "GET":
            return self.page("pipeline_versions", [v for v in self.versions.values() if v["pipeline_id"] == versions[1]], query)
        if kind not in LISTS or "/" in rest:
            raise Refusal(404, "Not Found")
        entries: dict[str, Entry] = getattr(self, kind)
        if not rest:
            return self.add(kind, body) if method == "POST" else self.page(LISTED.get(kind, kind), list(entries.values()), query)
        key, _, verb = rest.partition(":")
        if key not in entries:
            raise Refusal(404, f"{kind} {key} not found.")
        if method == "DELETE":
            del entries[key]
            if query.get("propagation_policy") != "ORPHAN":  # then Kubernetes collects the workflows too
                for run in self.runs.values():
                    run.update({"state": "FAILED"} if run.get("recurring_run_id") == key else {})
        elif method == "POST" and kind == "recurringruns" and verb in ("enable", "disable"):
            entries[key] |= {"mode": verb.upper(), "status": f"{verb.upper()}D"}
            self.most_enabled = max(self.most_enabled, len(self.enabled(entries[key]["display_name"])))
        elif method == "GET" and not verb:
            return self.look(entries[key]) if kind == "runs" else entries[key]
        else:
            raise Refusal(404, "Not Found")
        return {}

    def add(self, kind: str, body: Entry) -> Entry:
        unknown = set(body) - set(MODELS[kind].openapi_types)
        if unknown:
            raise Refusal(400, f"unknown field {sorted(unknown)}")
        if not body.get("display_name"):
            raise Refusal(400, "The display name is empty. Please specify a valid name.")
        entries: dict[str, Entry] = getattr(self, kind)
        if kind in ("experiments", "pipelines") and any(e["display_name"] == body["display_name"] for e in entries.values()):
            raise Refusal(409, f"Already exist error: The name {body['display_name']} already exists")
        made = {**body, LISTS[kind]: f"{kind}-{next(self.numbers)}", "created_at": self.now()}
        if kind in ("runs", "recurringruns"):
            if body["experiment_id"] not in self.experiments:
                raise Refusal(404, f"Experiment {body['experiment_id']} not found.")
            self.check_source(body)
        if kind == "runs":
            made["state"] = "PENDING"
        if kind == "recurringruns":
            if not 1 <= body["max_concurrency"] <= 10:
                raise Refusal(400, "The max concurrency of the recurring run is out of range. Support 1-10.")
            made["max_concurrency"] = str(body["max_concurrency"])
            period = made["trigger"].get("periodic_schedule")
            if period:
                period["interval_second"] = str(period["interval_second"])
            made["status"] = f"{made['mode']}D"
        entries[made[LISTS[kind]]] = made
        return made

    def check_source(self, body: Entry) -> None:
        reference = body.get("pipeline_version_reference")
        if reference and reference["pipeline_version_id"] not in self.versions:
            raise Refusal(404, f"PipelineVersion {reference['pipeline_version_id']} not found.")
        spec = self.versions[reference["pipeline_version_id"]]["pipeline_spec"] if reference else body["pipeline_spec"]
        inputs = spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        unknown = set(body["runtime_config"]["parameters"]) - set(inputs)
        if unknown:
            raise Refusal(400, f"unexpected parameters {sorted(unknown)}")

    def add_version(self, query: dict[str, str], file: bytes) -> Entry:
        if query.get("pipelineid") not in self.pipelines:
            raise Refusal(400, "Failed to create a pipeline version")
        same = [v for v in self.versions.values() if (v["pipeline_id"], v["name"]) == (query["pipelineid"], query["name"])]
        if same:
            raise Refusal(409, "Failed to create a pipeline version")
        spec, platform = yaml.safe_load_all(file)
        made = {
            "pipeline_id": query["pipelineid"], "pipeline_version_id": f"version-{next(self.numbers)}", "name": query["name"],
            "display_name": query["name"], "created_at": self.now(), "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform},
        }  # fmt: skip
        self.versions[made["pipeline_version_id"]] = made
        return made

    def page(self, name: str, entries: list[Entry], query: dict[str, str]) -> Entry:
        if "filter" in query:
            for predicate in json.loads(query["filter"])["predicates"]:
                if predicate["operation"] not in ("EQUALS", 1) or predicate["key"] != "display_name":
                    raise Refusal(400, f"filter {predicate} is not known here")
                wanted = predicate["stringValue"].lower()  # MySQL's default collation
                entries = [entry for entry in entries if entry["display_name"].lower() == wanted]
        if "experiment_id" in query:
            entries = [entry for entry in entries if entry["experiment_id"] == query["experiment_id"]]
        if query.get("sort_by") == "created_at desc":
            entries = entries[::-1]
        first, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
        answer: Entry = {name: entries[first : first + size], "total_size": len(entries)}
        if first + size < len(entries):
            answer["next_page_token"] = str(first + size)
        return {key: value for key, value in answer.items() if value != []}  # empty lists are left out, as protojson does

    def look(self, run: Entry) -> Entry:
        number = self.looks.get(run["run_id"], 0)
        self.looks[run["run_id"]] = number + 1
        run["state"], stages, message = self.progress[min(number, len(self.progress) - 1)]
        details = [
            {"display_name": stage, "state": state, **({"error": {"code": 13, "message": message}} if state == "FAILED" else {})}
            for stage, state in stages.items()
        ]
        return {**run, "run_details": {"task_details": details}}

    @staticmethod
    def now() -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def handler(state: KfpServer) -> type[BaseHTTPRequestHandler]:
    """The server's HTTP side."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize, disable_nagle_algorithm = -1, True  # or every answer would wait 40 ms for its acknowledgement

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path, query = parts.path.removeprefix(PREFIX), {key: values[0] for key, values in parse_qs(parts.query).items()}
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with state.lock:
                state.asked.append(f"{self.command} {path}")
                fault = next((f for f in state.faults if f.method == self.command and re.fullmatch(f.path, path) and f.times), None)
                if fault and fault.after:
                    fault.after, fault = fault.after - 1, None
                if fault:
                    fault.times -= 1
            status, answer = 200, Entry()
            if fault is None or fault.done:
                status, answer = self._carry_out(parts.path, path, query, raw)
            if fault:
                time.sleep(fault.delay)
                status, answer = fault.status, {"message": f"told to fail with {fault.status}"}
            self._write(status, answer)

        do_POST = do_DELETE = do_GET

        def _carry_out(self, whole: str, path: str, query: dict[str, str], raw: bytes) -> tuple[int, Entry]:
            if state.token and self.headers.get("authorization") != f"Bearer {state.token}":
                return 401, {"message": "Request header error: there is no user identity header."}
            try:
                if not whole.startswith(PREFIX):
                    raise Refusal(404, "Not Found")
                kind = self.headers.get("Content-Type") or ""
                body = multipart(kind, raw) if kind.startswith("multipart/") else json.loads(raw) if raw else None
                with state.lock:
                    return 200, state.answer(self.command, path, query, body)
            except Refusal as error:
                return error.args[0], {"message": error.args[1]}

        def _write(self, status: int, answer: Entry) -> None:
            if status == 0:
                self.close_connection = True
                return
            kind = "application/json"
            data = json.dumps(answer if status == 200 else {"code": GRPC.get(status, 2), "error": "", "details": [], **answer}).encode()
            if status == 302:
                status, kind, data = 200, "text/html; charset=utf-8", b"<html>Log in</html>"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def multipart(kind: str, raw: bytes) -> bytes:
    """The file of an upload."""
    parts = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + raw).get_payload()
    (part,) = [p for p in parts if p.get_param("name", header="content-disposition") == "uploadfile"]
    return part.get_payload(decode=True)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that gave up on a slow answer is no news."""


@contextmanager
def serving(token: str | None = None) -> Iterator[KfpServer]:
    """A server on a free port of loopback; with a token, it refuses whoever does not bear it."""
    state = KfpServer(token=token)
    server = _Quiet(("127.0.0.1", 0), handler(state))
    state.host = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
