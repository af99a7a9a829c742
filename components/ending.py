"""How a pipeline run ended, and telling it to somebody: a webhook with the reason and the link. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SUCCEEDED, FAILED, CANCELLED = "SUCCEEDED", "FAILED", "CANCELLED"
# What Kubeflow's servers and kfp.local call the end of a group of tasks. Servers up to 2.16 say RUNNING of a group with a loop in it,
# whatever became of it (kubeflow/pipelines issue 13321): then the tasks are asked for.
STATES = {
    "SUCCEEDED": SUCCEEDED, "COMPLETE": SUCCEEDED, "CACHED": SUCCEEDED, "SKIPPED": SUCCEEDED,
    "FAILED": FAILED, "CANCELED": CANCELLED, "CANCELLED": CANCELLED,
}  # fmt: skip
TIMEOUT = 10.0  # seconds
PAUSES = (1.0, 3.0, None)  # seconds between two tries of the webhook


def run_page(job: str) -> str:
    """Where a person looks at this run: below KFP_UI; empty where that is not set."""
    host = os.environ.get("KFP_UI", "").rstrip("/")
    return f"{host}/#/runs/details/{job}" if host else ""


def find_out(job: str, state: str, message: str | None) -> tuple[str, str]:
    """SUCCEEDED, FAILED or CANCELLED, and why, from what the exit handler is given and from what the failed tasks left behind.

    A server gives the state alone, so the reason is asked for at KFP_ENDPOINT, or read from the local run's termination log.
    """
    ended = STATES.get(state.upper())
    if ended == SUCCEEDED:
        return SUCCEEDED, ""
    reasons = _left_behind()
    answer = _tasks(job) if not reasons or ended is None else None
    if answer is not None:
        failed = {str(task.get("display_name")): str((task.get("error") or {}).get("message") or "failed") for task in answer}
        reasons = reasons or [f"{name}: {reason}" for name, reason in failed.items()]
        ended = ended or (FAILED if failed else SUCCEEDED)
    if ended is None:
        return FAILED, f"how the run ended is not known: the server says {state}, and KFP_ENDPOINT does not tell; look at the run"
    return ended, "" if ended == SUCCEEDED else "; ".join(reasons) or message or f"the server gives no reason for {state}"


def _left_behind() -> list[str]:
    path = os.environ.get("MAGICAPTURE_TERMINATION_LOG")
    return Path(path).read_text().splitlines() if path and Path(path).is_file() else []


def _tasks(job: str) -> list[dict[str, Any]] | None:
    """The run's failed tasks, the innermost alone where they say why; None where the server does not answer."""
    host = os.environ.get("KFP_ENDPOINT", "").rstrip("/")
    if not host:
        return None
    try:
        with urllib.request.urlopen(f"{host}/apis/v2beta1/runs/{job}", timeout=TIMEOUT) as answer:
            details = json.load(answer).get("run_details") or {}
    except (OSError, ValueError) as error:
        print(f"Kubeflow Pipelines at {host} does not tell of run {job}: {error}", file=sys.stderr)
        return None
    failed = [task for task in details.get("task_details") or [] if task.get("state") == "FAILED"]
    return [task for task in failed if (task.get("error") or {}).get("message")] or failed


def notify(ended: str, reason: str, job: str, links: Mapping[str, str]) -> bool:
    """Tell MAGICAPTURE_WEBHOOK of a run that did not succeed; returns whether it took the message.

    Sends JSON by POST: ``text`` (a sentence, which Slack and Mattermost show), ``state``, ``reason``, ``run`` and ``links``. Never
    raises, and never shows the address, which is a secret: a webhook that fails must not stand in the way of the run's own failure.
    """
    address = os.environ.get("MAGICAPTURE_WEBHOOK", "").strip()
    if ended == SUCCEEDED or not address:
        return False
    if urlsplit(address).scheme not in ("http", "https"):
        print("MAGICAPTURE_WEBHOOK: expected an address that begins with https:// (or http://); nobody was told", file=sys.stderr)
        return False
    named = {name: link for name, link in links.items() if link}
    text = f"MagiCapture run {job} {ended.lower()}: {reason}" + "".join(f"\n{name}: {link}" for name, link in named.items())
    body = json.dumps({"text": text, "state": ended, "reason": reason, "run": job, "links": named}).encode()
    for pause in PAUSES:
        try:
            request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                print("the webhook was told")
                return True
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                break
        except OSError as error:
            problem = str(getattr(error, "reason", error))
        except Exception as error:  # whatever it is: an address that cannot be one, an answer that is none
            problem = type(error).__name__
        if pause is not None:
            time.sleep(pause)
    print(f"the webhook does not take the message ({problem}): {text}", file=sys.stderr)
    return False
