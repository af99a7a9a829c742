"""Judging by another policy, crowning by hand and going back, as a person does it: through the command line, on a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from magicapture.artifacts import ArtifactError
from magicapture.cli import app
from magicapture.config import ConfigError
from magicapture.registry import RegistryError, TrackingDown, force, promote, rollback
from magicapture.registry.lock import FileLock, LockLost, model_lock
from magicapture.registry.tracking import Tracker
from tests.registry.artifacts import knobs, make_candidate
from tests.registry.test_promotion import NAME, run_of


def command(*arguments: str, code: int = 0) -> str:
    """What the command printed; errors that `main` would say are raised."""
    result = CliRunner().invoke(app, ["registry", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def add(tracker: Tracker, tmp_path: Path) -> Callable[..., None]:
    """Promote a candidate of a lineage."""

    def added(lineage: str, selection: float, **scores: object) -> None:
        candidate = make_candidate(tmp_path / lineage, selection=selection, **scores)
        promote([candidate], tmp_path / lineage / "out", knobs(), run_of(tmp_path / lineage / "run", lineage, tracker))

    return added


def held(tracker: Tracker) -> dict[str, str]:
    return {alias: str(version) for alias, version in tracker.client.get_registered_model(NAME).aliases.items()}


def test_a_store_that_does_not_answer_is_not_said_to_hold_no_knobs(add: Callable[..., None], tracker: Tracker) -> None:
    """Nor does it lead to --force, as a version without them does."""
    add("L1", 0.6)
    add("L2", 0.5)
    version = tracker.client.get_model_version(NAME, "2")
    folder = Path(tracker.client.get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    (folder / "config.yaml").rename(folder / "away.yaml")
    (folder / "config.yaml").symlink_to("config.yaml")
    with pytest.raises(TrackingDown, match="config.yaml"):
        command("promote", NAME, "--version", "2")
    (folder / "config.yaml").unlink()
    with pytest.raises(RegistryError, match="carries no config.yaml.*use --force"):
        command("promote", NAME, "--version", "2")


def test_list_and_show_say_who_is_champion_and_why(add: Callable[..., None]) -> None:
    add("L1", 0.6)
    add("L2", 0.5)
    (listed,) = json.loads(command("list", "--json"))
    assert (listed["name"], listed["champion"], listed["challenger"], listed["versions"]) == (NAME, "1", "2", 2)
    assert listed["scores"]["selection"] == pytest.approx(0.6, abs=0.01)
    assert f"{NAME}  champion 1, challenger 2, 2 version(s)  selection 0.600, identity 0.500" in command("list")
    shown = json.loads(command("show", NAME, "--json"))
    assert [entry["version"] for entry in shown["versions"]] == ["2", "1"]
    assert [entry["decision"] for entry in shown["versions"]] == ["challenger", "champion"]
    assert shown["versions"][0]["tags"]["lineage"] == "L2" and shown["history"] == ["1"]
    text = command("show", NAME, "1")
    assert "champion: first champion" in text and "data.dvc: md5.dir" in text and "L2" not in text


def test_another_persons_version_does_not_follow_the_champion_but_by_a_persons_word(add: Callable[..., None], tracker: Tracker) -> None:
    """However much better it is; names in common, or none known, are no hindrance."""
    add("L1", 0.5, whose={"anna": ["0" * 64]})
    add("L2", 0.9, whose={"ben": ["1" * 64]})
    assert held(tracker) == {"champion": "1"}
    said = tracker.client.get_model_version(NAME, "2").tags
    assert said["promotion.decision"] == "rejected" and "of other people" in said["promotion.reason"]
    assert "promotion.subject" in said["promotion.reason"] and not {"anna", "ben"} & set(said["promotion.reason"].split())
    add("L3", 0.9, whose={"anna": ["2" * 64], "ben": ["1" * 64]})
    assert held(tracker)["champion"] == "3"
    command("promote", NAME, "--version", "2", "--force", "--reason", "a new name")
    add("L4", 0.95)
    assert held(tracker)["champion"] == "4"


def test_rollback_goes_back_champion_by_champion_and_the_policy_does_not_undo_it(
    add: Callable[..., None], tracker: Tracker, tmp_path: Path
) -> None:
    for lineage, selection in (("L1", 0.5), ("L2", 0.6), ("L3", 0.7)):
        add(lineage, selection)
    assert held(tracker) == {"champion": "3"}
    assert "version 2: champion (rolled back from version 3: red eyes)" in command("rollback", NAME, "--reason", "red eyes")
    assert held(tracker) == {"champion": "2"}
    tags = tracker.client.get_model_version(NAME, "3").tags
    assert (tags["promotion.decision"], tags["promotion.reason"]) == ("rolled back", "rolled back to version 2: red eyes")
    add("L3", 0.7)  # the same run again
    assert held(tracker) == {"champion": "2"}
    assert "only --force" in command("promote", NAME, "--version", "3", code=1)
    assert tracker.client.get_model_version(NAME, "3").tags["promotion.reason"] == "rolled back to version 2: red eyes"
    command("rollback", NAME)
    assert held(tracker) == {"champion": "1"}
    with pytest.raises(RegistryError, match="nothing to roll back to: version 1 is champion.*earlier champions: none"):
        command("rollback", NAME)
    assert held(tracker) == {"champion": "1"}
    assert "by hand: it was the lamp" in command("promote", NAME, "--version", "3", "--force", "--reason", "it was the lamp")
    assert json.loads(command("show", NAME, "--json"))["history"] == ["1", "3"]
    command("rollback", NAME)
    assert held(tracker) == {"champion": "1"}


def test_rollback_to_a_certain_one_passes_over_what_is_gone(add: Callable[..., None], tracker: Tracker) -> None:
    for lineage, selection in (("L1", 0.5), ("L2", 0.6), ("L3", 0.7), ("L4", 0.8)):
        add(lineage, selection)
    tracker.client.delete_model_version(NAME, "3")
    with pytest.raises(RegistryError, match="version 3 was no champion"):
        command("rollback", NAME, "--to", "3")
    assert "version 2: champion" in command("rollback", NAME)
    tracker.client.set_registered_model_alias(NAME, "champion", "4")  # by other hands
    assert "version 1: champion" in command("rollback", NAME, "--to", "1")
    assert tracker.client.get_model_version(NAME, "2").tags["promotion.decision"] == "rolled back"
    assert held(tracker) == {"champion": "1"}


def test_another_policy_judges_the_challenger(add: Callable[..., None], tracker: Tracker, tmp_path: Path) -> None:
    add("L1", 0.6, identity=0.6)
    add("L2", 0.7, identity=0.5)
    assert held(tracker) == {"champion": "1", "challenger": "2"}
    policy = tmp_path / "policy.yaml"
    policy.write_text("tolerance_identity: 0.2\nmin_identity: 0.55\n")
    assert "rejected (identity 0.50" in command("promote", NAME, "--version", "2", "--policy", str(policy), code=1)
    assert held(tracker) == {"champion": "1"}  # below a floor nobody is challenger
    policy.write_text("tolerance_identity: 0.2\n")
    assert "champion (selection +0.1" in command("promote", NAME, "--version", "2", "--policy", str(policy))
    assert held(tracker) == {"champion": "2"}
    assert json.loads(tracker.client.get_model_version(NAME, "2").tags["promotion.policy"])["tolerance_identity"] == 0.2


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["show", "a/b"], RegistryError, "model name 'a/b': expected letters, digits"),
        (["show", "nobody"], RegistryError, "no registered model 'nobody'"),
        (["show", NAME, "9"], RegistryError, "no version '9'; versions: 1"),
        (["promote", NAME, "--version", "x"], RegistryError, "no version 'x'"),
        (["promote", NAME], RegistryError, "has no challenger"),
        (["promote", NAME, "--version", "1", "--force"], RegistryError, "say why with --reason"),
        (["promote", NAME, "--version", "1", "--force", "--reason", "r"], RegistryError, "is the champion already"),
        (["promote", NAME, "--version", "1", "--prepared", "nowhere"], ArtifactError, "nowhere"),
        (["promote", NAME, "--version", "1", "--policy", "none.yaml"], ConfigError, "none.yaml does not exist"),
        (["promote", NAME, "--version", "1", "--policy", "{here}/odd.yaml"], ConfigError, "did you mean 'promotion.policy.min_style'"),
        (["promote", NAME, "--version", "1", "--policy", "{here}/list.yaml"], ConfigError, "expected a mapping"),
        (["rollback", "a b"], RegistryError, "model name 'a b'"),
        (["rollback", NAME], RegistryError, "nothing to roll back to"),
        (["rollback", NAME, "--to", "5"], RegistryError, "version 5 was no champion before it"),
    ],
)
def test_bad_input_changes_nothing(
    arguments: list[str], error: type[Exception], said: str, add: Callable[..., None], tracker: Tracker, tmp_path: Path
) -> None:
    add("L1", 0.6)
    (tmp_path / "odd.yaml").write_text("min_stile: 0.2\n")
    (tmp_path / "list.yaml").write_text("- min_style\n")
    before = json.loads(command("show", NAME, "--json"))
    with pytest.raises(error, match=said.replace("(", "\\(")):
        command(*[argument.format(here=tmp_path) for argument in arguments])
    assert json.loads(command("show", NAME, "--json")) == before


def test_reading_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RegistryError, match="no store at"):
        command("list")
    assert list(tmp_path.iterdir()) == []


# A promotion that is slow between reading the champion and writing the alias, which is when two would undo each other's work.
FINISHER = """
import pathlib, sys, time
from magicapture.registry import decision, promote
from tests.registry.artifacts import knobs, make_candidate
judge = decision._judge
def slowly(*arguments):
    pathlib.Path(sys.argv[1], f"judging-{sys.argv[2]}").touch()
    time.sleep(2)
    return judge(*arguments)
decision._judge = slowly
root = pathlib.Path(sys.argv[1]) / sys.argv[2]
promote([make_candidate(root, int(sys.argv[3]), selection=float(sys.argv[2]))], root / "out", knobs())
"""


def test_two_finishers_at_once_lose_no_update(sqlite: Path, tmp_path: Path) -> None:
    """Whichever is first, the better one is champion at the end, and the history tells a possible order."""
    command = [sys.executable, "-c", FINISHER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    both = [subprocess.Popen([*command, score, seed], env=environment, cwd=sqlite.parent) for score, seed in (("0.6", "1"), ("0.8", "2"))]
    assert [process.wait(120) for process in both] == [0, 0]
    tracker = Tracker.connect()
    entries = {float(entry.tags["score.selection"]) > 0.7: entry for entry in tracker.client.search_model_versions(f"name = '{NAME}'")}
    better, worse = str(entries[True].version), str(entries[False].version)
    past = json.loads(tracker.client.get_registered_model(NAME).tags["champions"])
    if len(past) == 2:  # the worse one was first, and the better one judged against it
        assert past == [worse, better] and held(tracker) == {"champion": better}
        assert "selection +0.2" in entries[True].tags["promotion.reason"]
    else:
        assert past == [better] and held(tracker) == {"champion": better, "challenger": worse}
        assert "selection -0.2" in entries[False].tags["promotion.reason"]


@pytest.mark.parametrize("what", ["champion", "challenger", "by hand", "rollback"])
def test_a_lock_lost_between_the_verdict_and_the_alias_moves_none(
    what: str, add: Callable[..., None], tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is asked many things in between, and a Lease lives for half a minute."""
    add("L1", 0.5)
    add("L2", 0.6)
    before = held(tracker)
    looks = iter([True, False])
    monkeypatch.setattr(FileLock, "held", lambda _: next(looks))
    if what in ("champion", "challenger"):
        add("L3", 0.7 if what == "champion" else 0.4)
        kept = json.loads((tmp_path / "L3" / "out" / "manifest.json").read_text())["content"]
        assert kept["version"] is None and "the lock was lost before the alias was written" in kept["reason"]
    else:
        with pytest.raises(LockLost, match="the lock was lost before the alias was written"):
            force(NAME, "1", "why") if what == "by hand" else rollback(NAME)
    assert held(tracker) == before == {"champion": "2"} and next(looks, None) is None


def test_a_lock_that_is_not_had_in_time_keeps_all_for_later(sqlite: Path, tmp_path: Path, add: Callable[..., None]) -> None:
    add("L1", 0.6)
    uri = f"sqlite:///{sqlite}"
    with model_lock(NAME, uri, 1):
        with pytest.raises(LockLost, match="another promotion held the lock for 0.2 s"), model_lock(NAME, uri, 0.2):
            pass
        config = knobs(promotion={"subject": "anna", "style": "noir", "lock_wait": 0.2})
        promote([make_candidate(tmp_path / "b", 5)], tmp_path / "later", config)
        manifest = json.loads((tmp_path / "later" / "manifest.json").read_text())
        assert manifest["content"]["version"] is None and "lock" in manifest["content"]["reason"] and manifest["content"]["outbox"]
        with pytest.raises(TrackingDown), pytest.MonkeyPatch.context() as patch:
            patch.setattr("magicapture.registry.decision.Config", lambda: config)
            force(NAME, "1", "now")
