"""What a scheduled pipeline run asks of MLflow: whether there is anything to do, and where its page is."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from magicapture.artifacts import read_manifest
from magicapture.config import load_config
from magicapture.data.address import shown
from magicapture.registry.models import champion_of, model_name
from magicapture.registry.tracking import Tracker, TrackingDown

logger = logging.getLogger(__name__)


def nothing_changed(run: str | Path) -> str | None:
    """A sentence naming the champion that carries the lineage key of a ``run/1`` artifact; None where there is none.

    The parent run is told. None too while the tracking server is down: then the stages run, and promotion sorts it out.
    """
    manifest = read_manifest(run, "run")
    if manifest["content"]["run"] is None:
        return None
    name = model_name(load_config(manifest["config"]))
    try:
        tracker = Tracker.connect()
        with tracker.guarded():
            champion = champion_of(tracker, name)
            if champion is None or champion.tags.get("lineage") != manifest["lineage"]:
                return None
            sentence = f"version {champion.version} of {name}, the champion, is of the same data, knobs, code, pack and seeds"
            tracker.client.set_tag(manifest["content"]["run"], "promotion.reason", f"nothing changed: {sentence}")
            return sentence
    except TrackingDown as error:
        logger.warning("%s. Whether anything changed is not known, so the stages run.", error)
        return None


def run_page(run: str | Path) -> str:
    """Address of the MLflow page of a ``run/1`` artifact's parent run, below MLFLOW_UI or the tracking server; "" for a local store."""
    held = read_manifest(run, "run")["content"]["run"]
    host = (os.environ.get("MLFLOW_UI") or os.environ.get("MLFLOW_TRACKING_URI") or "").rstrip("/")
    host = shown(host, mask="")  # the page's address is for everybody
    if held is None or not host.startswith(("http://", "https://")):
        return ""
    try:
        return f"{host}/#/experiments/{Tracker.connect().experiment}/runs/{held}"
    except TrackingDown:
        return ""
