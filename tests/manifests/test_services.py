"""What the services' containers are told to run, run for real: MLflow's server, and the back-up and its restoring on PostgreSQL."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from kubernetes.utils.quantity import parse_quantity

from tests.manifests.conftest import ROOT
from tests.manifests.objects import Object, get, template


def container(objects: list[Object], kind: str, name: str) -> Object:
    made = template(get(objects, kind, name))
    assert made is not None
    first: Object = made["spec"]["containers"][0]
    return first


def test_server_and_clients_are_of_one_version(built: dict[str, list[Object]]) -> None:
    locked = re.search(r"^mlflow==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    images = [container(built["local"], "Deployment", "mlflow")["image"], container(built["upgrade"], "Job", "upgrade")["image"]]
    assert images == [f"ghcr.io/mlflow/mlflow:v{locked[1]}-full"] * 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_largest_files_pass_through_mlflow(built: dict[str, list[Object]]) -> None:
    """A worker writes each file to /tmp as a whole; the largest are the weights of a whole Stable Diffusion 1.x, UNet and text encoder."""
    server = container(built["local"], "Deployment", "mlflow")
    made = template(get(built["local"], "Deployment", "mlflow"))
    assert made is not None
    (scratch,) = (volume["emptyDir"]["sizeLimit"] for volume in made["spec"]["volumes"] if volume["name"] == "scratch")
    needed = (859_520_964 + 123_060_480) * 4 * int(next(flag for flag in server["command"] if "--workers=" in flag).partition("=")[2])
    for room in (scratch, server["resources"]["limits"]["ephemeral-storage"]):
        assert parse_quantity(room) > needed


def test_mlflow_starts_as_the_manifest_says(built: dict[str, list[Object]], tmp_path: Path) -> None:
    """Its flags and variables are known, its probe answers as the kubelet asks, its hosts and origins are let in, and no others."""
    server = container(built["local"], "Deployment", "mlflow")
    settings = get(built["local"], "ConfigMap", "mlflow")["data"]
    port = free_port()
    program, *flags = server["command"]
    flags = [
        {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}", "--workers=2": "--workers=1"}.get(flag, flag)
        for flag in flags
    ]
    given = {variable["name"]: variable["value"] for variable in server["env"] if "value" in variable}
    own = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path / 'm.db'}", "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "bucket")}
    # With the address of an ingress, as docs/operate.md has it added.
    own["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = settings["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] + ",https://mlflow.example.org"
    assert set(own) < set(settings)
    environment = {"PATH": os.environ["PATH"], **settings, **given, **own, "HOME": str(tmp_path)}
    with subprocess.Popen(
        [str(Path(sys.prefix, "bin", program)), *flags], cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    ) as process:
        try:
            probe, http = server["startupProbe"], urllib3.PoolManager(retries=False)
            address = f"http://127.0.0.1:{port}"

            def healthy() -> bool:
                try:  # the kubelet asks by the pod's address
                    return http.request("GET", address + probe["httpGet"]["path"], headers={"Host": f"10.1.2.3:{port}"}).status == 200
                except urllib3.exceptions.HTTPError:
                    return False

            until = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
            while not healthy():
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.2)

            def ask(host: str) -> int:
                call = address + "/api/2.0/mlflow/experiments/search?max_results=1"
                return int(http.request("GET", call, headers={"Host": host}).status)

            inside = get(built["local"], "ConfigMap", "magicapture-settings")["data"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
            assert [ask(host) for host in (inside, "mlflow:5000", "localhost:5000", "attacker.example:5000")] == [200, 200, 200, 403]

            def post(**origin: str) -> int:
                call, asked = address + "/api/2.0/mlflow/experiments/search", json.dumps({"max_results": 1})
                headers = {"Host": "localhost:5000", "Content-Type": "application/json", **origin}
                return int(http.request("POST", call, body=asked, headers=headers).status)

            pages = [get(built["local"], "ConfigMap", "magicapture-settings")["data"]["MLFLOW_UI"], "https://mlflow.example.org"]
            assert [post()] + [post(Origin=page) for page in (*pages, "https://attacker.example")] == [200, 200, 200, 403]
            put = http.request("PUT", f"{address}/api/2.0/mlflow-artifacts/artifacts/0/a.txt", body=b"kept", headers={"Host": inside})
            assert put.status == 200 and (tmp_path / "bucket" / "0" / "a.txt").read_bytes() == b"kept"
        finally:
            os.killpg(process.pid, 15)
    upgrade = subprocess.run(
        container(built["upgrade"], "Job", "upgrade")["command"],
        env=environment | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert upgrade.returncode == 0, upgrade.stderr


class Database:
    """A PostgreSQL of its own, as the cluster's: user and database mlflow."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
        self.programs = found[-1].resolve().parent
        if not (self.programs / "initdb").exists():
            pytest.skip("no PostgreSQL: apt-get install postgresql")
        # PostgreSQL refuses to run as root, as in the cluster; a folder of pytest's own would be closed to its user.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.folder, self.port = folder, free_port()
        if self.user:
            shutil.chown(folder, self.user)
        self.environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "mlflow",
            "PGPASSWORD": "secret",
            "LC_ALL": "C.UTF-8",
        }
        (folder / "password").write_text("secret")
        self.run("initdb", "--pgdata", str(folder / "data"), "--username=mlflow", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self.run("pg_ctl", "--pgdata", str(folder / "data"), "--wait", "--log", str(folder / "log"), "--options", options, "start")

    def run(self, *command: str, **more: str) -> str:
        """Output of one of PostgreSQL's programs, or of a script that calls them."""
        done = subprocess.run(
            command, env=self.environment | more, user=self.user, cwd="/", capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        self.run("pg_ctl", "--pgdata", str(self.folder / "data"), "--mode=immediate", "stop")

    def ask(self, statement: str, database: str = "mlflow") -> str:
        return self.run("psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--dbname={database}", f"--command={statement}").strip()


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory() as folder:
        made = Database(Path(folder))
        try:
            made.ask("CREATE DATABASE mlflow", "postgres")
            yield made
        finally:
            made.stop()


OLD, NEWEST = "mlflow-20200101T000000Z.dump", "mlflow-20200102T000000Z.dump"
KILLED, OTHERS = "mlflow-20200103T000000Z.dump.partial", "mlflow-20990101T000000Z.dump.partial"


@pytest.fixture
def backups(database: Database) -> Path:
    """The volume, with two dumps that are too old, what a killed back-up left, and what another one is writing now."""
    folder = Path(tempfile.mkdtemp(dir=database.folder))
    for path in (folder / OLD, folder / NEWEST, folder / KILLED, folder / OTHERS):
        path.write_text("old")
        os.utime(path, None if path.name == OTHERS else (0, 0))
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, database.user or pwd.getpwuid(os.geteuid()).pw_name)
    return folder


def script(objects: list[Object], kind: str, name: str) -> tuple[list[str], dict[str, str]]:
    """A job's command and what it is told by plain variables, but for the host."""
    job = container(objects, kind, name)
    told = {variable["name"]: variable["value"] for variable in job["env"] if "value" in variable}
    assert {"PGHOST", "PGUSER", "PGDATABASE"} <= set(told) and "PGPASSWORD" not in told
    return job["command"], {key: value for key, value in told.items() if key != "PGHOST"}


def test_a_back_up_brings_everything_back(built: dict[str, list[Object]], database: Database, backups: Path) -> None:
    backup, told = script(built["local"], "CronJob", "backup")
    restore, asked = script(built["restore"], "Job", "restore")
    database.ask("CREATE TABLE versions (name text PRIMARY KEY, alias text); INSERT INTO versions VALUES ('1', 'champion')")
    database.run(*backup, **told | {"BACKUPS": str(backups)})
    (dump,) = (path for path in backups.iterdir() if path.name not in (NEWEST, OTHERS))  # the old one went, nothing half-written is left
    assert dump.suffix == ".dump" and dump.stat().st_mode & 0o077 == 0

    # A bad upgrade: a table gone, and a new one, which would be in the way of the next upgrade.
    database.ask("CREATE TABLE newer (id int); DROP TABLE versions")
    said = database.run(*restore, **asked | {"BACKUPS": str(backups)})
    assert str(dump) in said
    assert database.ask("SELECT * FROM versions") == "1|champion"
    assert database.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == "versions"
    assert {path.name for path in backups.iterdir()} == {NEWEST, OTHERS, dump.name}

    # A dump that is not whole changes nothing.
    broken = backups / "mlflow-20990101T000000Z.dump"
    broken.write_bytes(dump.read_bytes()[:-20])
    database.ask("UPDATE versions SET alias = 'later'")
    with pytest.raises(AssertionError, match="pg_restore"):
        database.run(*restore, **asked | {"BACKUPS": str(backups)})
    assert database.ask("SELECT alias FROM versions") == "later"
    database.run(*restore, **asked | {"BACKUPS": str(backups), "DUMP": str(dump)})
    assert database.ask("SELECT alias FROM versions") == "champion"


def test_a_back_up_that_fails_leaves_no_dump(built: dict[str, list[Object]], database: Database, backups: Path) -> None:
    backup, told = script(built["local"], "CronJob", "backup")
    with pytest.raises(AssertionError, match="pg_dump"):
        database.run(*backup, **told | {"BACKUPS": str(backups), "PGPASSWORD": "wrong"})
    # There is room again for the next one, and still a dump to restore.
    assert {path.name for path in backups.iterdir()} == {NEWEST, OTHERS}


def test_a_first_back_up_finds_an_empty_volume(built: dict[str, list[Object]], database: Database, backups: Path) -> None:
    backup, told = script(built["local"], "CronJob", "backup")
    for path in backups.iterdir():
        path.unlink()
    database.run(*backup, **told | {"BACKUPS": str(backups)})
    assert [path.suffix for path in backups.iterdir()] == [".dump"]
