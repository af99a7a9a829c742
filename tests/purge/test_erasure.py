"""One of two people is erased: no byte of hers is left, nothing of his is touched."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from PIL import Image

from magicapture.artifacts import MANIFEST, sha256_file, writing
from magicapture.purge import PurgeError, erase, erasure, find
from magicapture.registry.tracking import Tracker
from tests.purge.people import HE, SHADES, SHE, bytes_with, make_person, tree
from tests.registry.artifacts import make_candidate


@pytest.fixture
def here(sqlite: Path) -> Path:
    """The working directory with both people's runs and store."""
    for name in (HE, SHE):
        make_person(sqlite.parent, name)
    return sqlite.parent


def test_a_dry_run_changes_nothing(here: Path) -> None:
    before = tree(here)
    plan = find(SHE, [here / "runs", here / "photos"])
    assert tree(here) == before
    kinds = plan.kinds()
    assert kinds.items() >= {"pipeline run": 1, "checkpoints": 1, "latents": 1, "cache entry": 1, "photo": 2, "copy": 1, "link": 1}.items()
    assert (kinds["description"], kinds["draft"], kinds["registered model"], kinds["model version"]) == (1, 1, 1, 1)
    assert kinds["MLflow run"] == 8  # the parent, six stages, the promotion


def test_what_train_and_generate_leave_beside_their_artifacts_goes_too(here: Path) -> None:
    """Pages with her pictures in them, places and scores: no manifest tells of those."""
    for name in (HE, SHE):
        run = here / "runs" / str(SHADES[name])
        make_candidate(run, whose={name: []}, shade=SHADES[name])
        for record in ("recipe.yaml", "search.json", "search.html", "seed-0/selection.json"):
            (run / record).write_text("no name in it")
    erase(find(SHE, [here / "runs", here / "photos"]))
    assert not [path for path in (here / "runs" / str(SHADES[SHE])).rglob("*") if path.is_file()]
    assert {"recipe.yaml", "search.json", "search.html"} <= {path.name for path in (here / "runs" / str(SHADES[HE])).iterdir()}
    assert (here / "runs" / str(SHADES[HE]) / "seed-0" / "selection.json").is_file()


def test_no_byte_of_hers_is_left_and_none_of_his_is_touched(here: Path, tracker: Tracker) -> None:
    before = tree(here)
    plan = find(SHE, [here / "runs", here / "photos"])
    hers = {before[str(path)] for path in map(Path, before) if path.is_file() and any(path.is_relative_to(own) for own in plan.paths)}
    report = erase(plan)
    assert report.left == []
    after = tree(here)
    assert bytes_with(SHE, here) == []
    assert hers & {*after.values()} - {before[str(path)] for path in (here / "runs" / "stages" / "20260101-000001").rglob("*")} == set()
    changed = {path for path in before if before[path] != after.get(path)}
    gone = changed - {*after}
    assert changed - gone == {str(here / "mlflow.db")}  # rewritten without her
    assert all("wilbert" not in path and "20260101-000001" not in path and "look" not in path and "class-" not in path for path in gone)
    assert {*after} - {*before} == {str(here / "runs" / "purges.jsonl")}
    assert [model.name for model in tracker.client.search_registered_models()] == [f"magicapture.{HE}.noir"]
    assert tracker.client.get_model_version_by_alias(f"magicapture.{HE}.noir", "champion").tags["subjects"] == f'["{HE}"]'
    (line,) = (here / "runs" / "purges.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["removed"] == report.kinds and (record["left"], record["files"]) == (0, report.files)
    assert set(record) == {"id", "time", "magicapture", "removed", "files", "bytes", "left", "retained"}
    with pytest.raises(PurgeError, match="nothing is of 'zoraida'"):
        find(SHE, [here / "runs", here / "photos"])


KILLED = """
import os, signal, sys
from pathlib import Path
from magicapture.purge import erase, erasure, find
from magicapture.registry import erasure as tracked

module, name, count = {"files": erasure, "rows": tracked}[sys.argv[1]], sys.argv[2], int(sys.argv[3])
real, calls = getattr(module, name), []

def deadly(*arguments):
    calls.append(1)
    if len(calls) > count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

setattr(module, name, deadly)
erase(find("zoraida", [Path("runs"), Path("photos")]))
"""


@pytest.mark.parametrize("when", [("rows", "_drop_rows", 0), ("files", "_remove", 0), ("files", "_remove", 4)])
@pytest.mark.timeout(900)
def test_killed_half_way_it_goes_on(here: Path, when: tuple[str, str, int]) -> None:
    """The second time nothing need be left by which the rest could be told to be hers: the plan remembers."""
    command = [sys.executable, "-c", KILLED, *map(str, when)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": "/usr/bin:/bin"}
    killed = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    (plan,) = (here / "runs").glob(".purge-*.json")
    for path in (here / "runs" / "stages" / "20260101-000000").rglob(MANIFEST):  # whatever the kill had taken, the proofs are gone
        path.unlink()
    shutil.rmtree(here / "photos" / SHE, ignore_errors=True)
    assert bytes_with(SHE, here)
    report = erase(find(SHE, [here / "runs", here / "photos"]))
    assert report.left == [] and bytes_with(SHE, here) == [] and not plan.exists()
    assert report.kinds["photo"] == 2 and (here / "photos" / HE / "0.png").is_file()


def test_interrupted_in_the_second_look_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even though the folder that --photos named is gone, and the folders are given in another order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    photos, runs = tmp_path / "photos", tmp_path / "runs"
    for folder, name in (("anna", "0"), ("anna", "1"), ("ben", "2")):
        (photos / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (int(name), 0, 0)).save(photos / folder / f"{name}.png")
    with writing(runs / "set", "images/1", subjects={"anna": [sha256_file(photos / "anna" / "0.png")]}) as draft:
        shutil.copyfile(photos / "anna" / "0.png", draft.path / "0.png")
    given = [photos / "anna"]
    with monkeypatch.context() as patch:

        def stopped(plan: erasure.Plan) -> list[str]:
            raise KeyboardInterrupt

        patch.setattr(erasure, "_left", stopped)
        with pytest.raises(KeyboardInterrupt):
            erase(find("anna", [photos, runs], given))
    assert not (photos / "anna").exists() and len([*photos.glob(".purge-*.json")]) == 1
    with pytest.raises(PurgeError, match="there is no such folder"):
        find("ben", [photos, runs], given)
    with pytest.raises(PurgeError, match="there is no such folder"):
        find("anna", [photos, runs], [photos / "ana"])
    report = erase(find("anna", [runs, photos], given))
    assert report.left == [] and report.kinds["photo"] == 2 and not [*tmp_path.rglob(".purge-*.json")]
    assert [path.name for path in photos.rglob("*.png")] == ["2.png"]
    with pytest.raises(PurgeError, match="there is no such folder"):
        find("anna", [runs, photos], given)


def test_a_container_without_an_installed_package_or_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage images hold the package's files alone, and their user may be in no list of users."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HOME", "~")  # what is made of ~ for such a user
    with pytest.raises(RuntimeError):
        Path.home()
    with writing(tmp_path / "runs" / "set", "images/1", subjects={"anna": ["1"]}):
        pass
    plan = find("anna", [tmp_path / "runs"])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [place for place in sys.path if "site-packages" not in place])
        with pytest.raises(PackageNotFoundError):
            version("magicapture")
        report = erase(plan)
    assert report.left == [] and [path.name for path in (tmp_path / "runs").iterdir()] == ["purges.jsonl"]
    assert json.loads((tmp_path / "runs" / "purges.jsonl").read_text())["magicapture"] == ""


def test_what_is_not_known_to_be_hers_is_said_and_stays(here: Path) -> None:
    (here / "runs" / "notes.txt").write_text("Zoraida rang\n")
    (here / "runs" / "blazoraidaism.txt").write_text("a word of another meaning\n")
    plan = find(SHE, [here / "runs", here / "photos"])
    assert plan.mentions == [(str(here / "runs" / "notes.txt"), "text")]
    report = erase(plan)
    assert report.left == [f"{here / 'runs' / 'notes.txt'}: the name in its text"] and (here / "runs" / "notes.txt").is_file()


def test_runs_of_a_store_that_was_not_looked_at_are_left(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is given in another directory: the artifacts name a run, and there is no mlflow.db to look in."""
    folders = [here / "runs", here / "photos"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # which MLflow sets for its process
    plan = find(SHE, folders)
    (run,) = plan.proof["runs"]
    assert any("no MLflow store was looked at" in what and "MLFLOW_TRACKING_URI" in remedy for what, remedy in plan.retained)
    assert erase(plan).left == [f"MLflow {run}: the run that artifacts name; no MLflow store was looked at"]
    assert not [*(tmp_path / "elsewhere").iterdir()] and bytes_with(SHE, here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'mlflow.db'}?timeout=30")
    report = erase(find(SHE, folders))
    assert report.left == [] and not any("MLflow" in what for what, _ in report.retained)
    assert bytes_with(SHE, here) == [] and not [*here.glob("*[?]*")]


def test_a_shared_model_keeps_his_version(sqlite: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both promoted into one registered model, as with knobs left alone: her version goes, with its rows, tags and alias."""
    from tests.purge import people

    here, real = sqlite.parent, people.knobs
    monkeypatch.setattr(people, "knobs", lambda **_: real(promotion={"subject": "subject", "style": "noir"}))
    for name in (HE, SHE):
        make_person(here, name)
    report = erase(find(SHE, [here / "runs", here / "photos"]))
    assert report.left == [] and bytes_with(SHE, here) == []
    (kept,) = tracker.client.search_model_versions("name = 'magicapture.subject.noir'")
    assert kept.tags["subjects"] == f'["{HE}"]'
    assert tracker.client.get_registered_model("magicapture.subject.noir").tags["champions"] == '["1"]'


def test_a_set_of_several_goes_as_a_whole_but_not_the_others_photos(sqlite: Path) -> None:
    here = sqlite.parent
    make_person(here, HE, (HE, SHE))
    plan = find(SHE, [here / "runs", here / "photos"])
    assert plan.others == [HE]
    photos = tree(here / "photos" / HE)
    report = erase(plan)
    assert not (here / "runs" / "stages").exists() and tree(here / "photos" / HE) == photos
    assert [path.name for path in (here / "runs" / "checkpoints" / "latents").iterdir() if HE[::-1] in path.name]  # his own picture's
    assert report.left == []


def test_nothing_outside_the_folders_is_touched(here: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(here / "photos" / SHE, outside / SHE)
    (here / "runs" / "way-out").symlink_to(outside)
    before = tree(outside)
    plan = find(SHE, [here / "runs"])
    assert not any(path.is_relative_to(here / "photos") or path.is_relative_to(outside) for path in plan.paths)
    plan.paths[here / "runs" / "way-out" / SHE] = "photos"  # through the link
    with pytest.raises(PurgeError, match="outside the folders given"):
        erase(plan)
    assert tree(outside) == before and (here / "photos" / SHE / "0.png").is_file()


def test_older_artifacts_are_found_by_photos_and_by_place(here: Path) -> None:
    """Manifests from before names were recorded: of them, the prepared set knows the photos' hashes."""
    root = here / "runs" / "stages" / "20260101-000000"
    shutil.move(root, here / "runs" / "mine")
    for path in sorted((here / "runs").rglob(MANIFEST)):
        manifest = json.loads(path.read_text())
        if manifest["schema"] in ("draft/1", "checkpoints/1"):
            shutil.rmtree(path.parent)
            continue
        photos = manifest.pop("subjects").popitem()[1]
        manifest["config"].pop("promotion")
        if manifest["schema"] == "prepared/1":
            manifest["content"] = {"source": [{"sha256": digest, "concept": ""} for digest in photos]}
        path.write_text(json.dumps(manifest))
    with pytest.raises(PurgeError, match="near it: zoraida"):
        find("zoraid", [here / "runs"])
    plan = find("someone", [here / "runs"], [here / "photos" / SHE])
    found = {path.relative_to(here / "runs") for path in plan.paths}
    inside = Path("mine/magicapture-x/for-loop")
    assert {inside / "prepared", inside / "seed-0" / "adapter", inside / "seed-0" / "evaluation", Path("40-sent-to-a-friend.png")} <= found
    assert not any("20260101-000001" in path.parts or path.name.startswith("90") for path in found)
    assert any(str(here / "photos" / SHE) in what for what, _ in plan.retained)  # only read


@pytest.mark.parametrize("name", ["", "..", "../..", "a/b"])
def test_names_that_are_paths_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PurgeError, match="expected the name of a person"):
        find(name, [tmp_path])


@pytest.mark.parametrize(("folder", "said"), [("nowhere", "there is no such folder"), ("/", "too much to look through")])
def test_folders_that_will_not_do(folder: str, said: str, sqlite: Path) -> None:
    with pytest.raises(PurgeError, match=said):
        find(SHE, [Path(folder)])
