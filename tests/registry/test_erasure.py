"""Whose MLflow's runs and versions are; tests/purge has whole erasures."""

from __future__ import annotations

import pytest

from magicapture.registry.erasure import erase_tracked, find_tracked
from magicapture.registry.tracking import Tracker


@pytest.mark.parametrize("tag", ["12", "anna", "{}", '["anna", 1]', "[", ""])
def test_a_strangers_tag_of_the_same_key_stops_nothing(tag: str, tracker: Tracker) -> None:
    hers, other = (tracker.client.create_run(tracker.experiment).info.run_id for _ in range(2))
    tracker.client.set_tag(hers, "subjects", '["anna"]')
    tracker.client.set_tag(other, "subjects", tag)
    tracker.client.create_registered_model("shared", {"champions": tag})
    for run in (hers, other):
        tracker.client.set_model_version_tag(
            "shared", tracker.client.create_model_version("shared", "/nowhere", run).version, "subjects", tag
        )
    found = find_tracked("anna")
    assert found is not None and (found.runs, found.versions, found.names) == ([hers], [("shared", "1")], {"anna"})
    erase_tracked("anna", found)
    again = find_tracked("anna")
    assert again is not None and not again
    assert tracker.client.get_run(other).data.tags["subjects"] == tag and len(tracker.client.search_model_versions()) == 1
