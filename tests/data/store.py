"""A git repository with DVC whose pictures lie on an S3 server on loopback, and its bare clone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "pictures"


@dataclass
class Store:
    """An S3 server with one empty bucket; credentials for it are in the environment."""

    endpoint: str
    client: Any

    def names(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@contextmanager
def serve(patch: pytest.MonkeyPatch, home: Path) -> Iterator[Store]:
    """Run the server. Nothing of the user's own settings of git, DVC and AWS is read."""
    who = {f"GIT_{role}_{part}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    aws = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    dvc = {"DVC_NO_ANALYTICS": "1", "DVC_GLOBAL_CONFIG_DIR": str(home), "DVC_SITE_CACHE_DIR": str(home / "site")}
    own = {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in (who | aws | dvc | own).items():
        patch.setenv(name, value)
    for name in ("GIT_USERNAME", "GIT_PASSWORD", "GIT_HOST", "GIT_ASKPASS", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        patch.delenv(name, raising=False)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket=BUCKET)
        yield Store(f"http://{host}:{port}", client)
    finally:
        server.stop()


def run(folder: Path, *command: str, fail: bool = False) -> str:
    """Output of a git or dvc command in a folder; it has to succeed, or to fail."""
    whole = command if command[0] == "git" else (sys.executable, "-m", *command)
    result = subprocess.run(whole, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert (result.returncode != 0) is fail, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout + result.stderr


def make(folder: Path, store: Store | None = None) -> Path:
    """A new repository with DVC; its remote "main" is the store. An embedded remote "samples", the default, is there too."""
    folder.mkdir(parents=True)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, "dvc", "init", "--quiet")
    text = "[core]\n    remote = samples\n['remote \"samples\"']\n    url = samples\n"
    if store:
        text += f"['remote \"main\"']\n    url = s3://{BUCKET}/main\n    endpointurl = {store.endpoint}\n"
    (folder / ".dvc" / "config").write_text(text)
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "--quiet", "--message", "start")
    return folder


def publish(repository: Path, commands: list[str]) -> str:
    """Give the commands that an addition asks for, but the last (git push); returns the commit."""
    for command in commands[:-1]:
        run(repository, *shlex.split(command))
    return run(repository, "git", "rev-parse", "HEAD").strip()
