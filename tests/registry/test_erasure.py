"""Whose MLflow's runs and versions are; tests/purge has whole erasures."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.registry.erasure import erase_tracked, find_tracked
from magicapture.registry.lock import FileLock, LockLost, model_lock
from magicapture.registry.tracking import Tracker
from tests.registry.artifacts import knobs


@pytest.mark.parametrize("tag", ["12", "anna", "{}", '["anna", 1]', "[", ""])
def test_a_strangers_tag_of_the_same_key_stops_nothing(tag: str, tracker: Tracker) -> None:
    hers, other = (tracker.client.create_run(tracker.experiment).info.run_id for _ in range(2))
    tracker.client.set_tag(hers, "subjects", '["anna"]')
    tracker.client.set_tag(hers, "lineage", "x")
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


def test_what_only_has_a_persons_name_in_its_own_stays(tracker: Tracker) -> None:
    """On a server that others share."""
    for name in ("anna.detector", "dev.anna.bert"):
        tracker.client.create_registered_model(name)
        tracker.client.create_model_version(name, "/nowhere")
    tracker.client.create_registered_model("ml.anna.empty")
    theirs = tracker.client.create_run(tracker.experiment, tags={"subjects": '["anna"]'}).info.run_id
    found = find_tracked("anna")
    assert found is not None and not found
    tracker.client.create_registered_model("magicapture.anna.noir")  # ours: its first version was never made
    tracker.client.create_registered_model("magicapture.anna.gala")
    ours = tracker.client.create_model_version("magicapture.anna.gala", "/nowhere", tags={"lineage": "x"})  # of before there was the tag
    found = find_tracked("anna")
    assert found is not None and found.versions == [("magicapture.anna.gala", str(ours.version))]
    assert found.registered == ["magicapture.anna.gala", "magicapture.anna.noir"]
    erase_tracked("anna", found)
    assert {model.name for model in tracker.client.search_registered_models()} == {"anna.detector", "dev.anna.bert", "ml.anna.empty"}
    assert tracker.client.get_run(theirs).info.lifecycle_stage == "active"


@pytest.mark.parametrize("shared", [False, True])
def test_a_model_is_erased_under_its_lock(shared: bool, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while somebody promotes; and where the lock's file goes with the model, it goes while it is held."""
    tracker.client.create_registered_model("m")
    for name in ("anna", "ben") if shared else ("anna",):
        run = tracker.client.create_run(tracker.experiment, tags={"subjects": f'["{name}"]', "lineage": "x"}).info.run_id
        tracker.client.create_model_version("m", "/nowhere", run)
    found = find_tracked("anna")
    assert found is not None and found.registered == ([] if shared else ["m"])
    with monkeypatch.context() as patch, model_lock("m", tracker.uri, 1):
        patch.setattr("magicapture.registry.erasure.Config", lambda: knobs(promotion={"lock_wait": 0.2}))
        with pytest.raises(LockLost, match="held the lock for 0.2 s"):
            erase_tracked("anna", found)
    assert find_tracked("anna") == found
    released, release = list[bool](), FileLock.release

    def watched(lock: FileLock) -> None:
        released.append(lock.path.exists())
        release(lock)

    monkeypatch.setattr(FileLock, "release", watched)
    erase_tracked("anna", found)
    assert released == [shared] and not find_tracked("anna")


def test_whoever_waits_for_a_lock_whose_file_went_takes_the_new_one(tmp_path: Path) -> None:
    erasing, waiting, later = (FileLock(tmp_path / "m.lock") for _ in range(3))
    assert erasing.acquire() and not waiting.acquire()
    erasing.path.unlink()
    erasing.release()
    assert later.acquire() and not waiting.acquire()
    later.release()
    assert waiting.acquire() and not later.acquire()
    for lock in (waiting, later):
        lock.release()
