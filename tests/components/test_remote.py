"""Talking to a Kubeflow Pipelines server over HTTP: its errors, its silences, and versions of the pipeline on it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from components.remote import Server, ServerError, upload, version_name
from components.values import Cluster
from magicapture.config import ConfigError
from tests import kfp_server
from tests.kfp_server import KfpServer, multipart, serving

ANY = ".*"


def test_a_token_is_asked_for_and_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(token="secret") as kfp:
        with pytest.raises(ServerError, match=r"401 Request header error.*set KFP_EXISTING_TOKEN") as caught:
            Server(kfp.host).experiment("e")
        assert caught.value.status == 401 and kfp.host in str(caught.value)
        assert kfp.asked == ["GET /experiments"]  # asked once: a second time would not help
        monkeypatch.setenv("KFP_EXISTING_TOKEN", "secret")
        assert Server(kfp.host).experiment("e") in kfp.experiments


def test_a_server_that_stumbles_is_asked_again(kfp: KfpServer, client: Server) -> None:
    kfp.fail("GET", ANY, 500, times=3)
    kfp.fail("POST", ANY, 503, times=2)
    assert [client.experiment("e")] == list(kfp.experiments)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_stays_down_is_said(status: int, kfp: KfpServer, client: Server) -> None:
    kfp.fail("GET", ANY, status, times=99)
    with pytest.raises(ServerError, match=f"refused to list experiments: {status} told to fail"):
        client.experiment("e")
    assert len(kfp.asked) == 4 and not kfp.experiments


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 0}, {"status": 200, "delay": 1.3}], ids=["500", "cut", "slow"])
def test_what_was_made_is_made_once_however_its_answer_was_lost(fault: dict, done: bool, kfp: KfpServer, client: Server) -> None:
    kfp.fail("POST", "/experiments", done=done, **fault)
    if fault["status"] == 200 and not done:  # it may be at it still
        with pytest.raises(ServerError, match="does not answer .*look before you ask again"):
            client.experiment("e")
        assert kfp.asked.count("POST /experiments") == 1
    assert [client.experiment("e")] == list(kfp.experiments)


def test_a_server_that_never_answers_is_not_waited_for(kfp: KfpServer, client: Server) -> None:
    kfp.fail("GET", ANY, 200, times=99, delay=1.3)
    with pytest.raises(ServerError, match="does not answer") as caught:
        client.experiment("e")
    assert caught.value.unclear and len(kfp.asked) == 4


def test_somebody_else_was_faster(kfp: KfpServer, client: Server) -> None:
    kfp.fail("POST", "/experiments", 409, done=True)
    assert [client.experiment("e")] == list(kfp.experiments)
    kfp.fail("POST", "/experiments", 409)  # and it is gone again
    with pytest.raises(ServerError, match="409"):
        client.experiment("other")


def test_a_login_page_is_no_answer(kfp: KfpServer, client: Server) -> None:
    kfp.fail("GET", ANY, 302, times=99)
    with pytest.raises(ServerError, match="login page.*KFP_EXISTING_TOKEN"):
        client.experiment("e")
    assert not kfp.experiments


def test_another_service_at_the_address(kfp: KfpServer) -> None:
    with pytest.raises(ServerError, match="404 Not Found; if the address is not wrong"):
        Server(f"{kfp.host}/wrong/").experiment("e")


def test_listings_are_read_to_their_end(kfp: KfpServer, client: Server) -> None:
    for i in range(205):
        kfp.add("experiments", {"display_name": f"e{i}"})
    assert [entry.display_name for entry in client.each("experiments", client.list_experiments)] == [f"e{i}" for i in range(205)]


def test_a_listing_in_a_form_unknown_here_is_not_taken_for_empty(kfp: KfpServer, client: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.add("experiments", {"display_name": "e"})
    monkeypatch.setitem(kfp_server.LISTED, "experiments", "theExperiments")
    with pytest.raises(ServerError, match="lists 1 experiments, but none"):
        client.experiment("e")


def test_upload_names_the_version_by_commit_and_uploads_it_once(
    kfp: KfpServer, client: Server, portraits: BaseComponent, checkout: Path, tmp_path: Path
) -> None:
    commit = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    first = upload(client, portraits, Cluster())
    assert len(first.name) == 12 and commit.startswith(first.name)
    assert upload(client, portraits, Cluster()).pipeline_version_id == first.pipeline_version_id
    gpu = upload(client, portraits, Cluster(gpu_type="nvidia.com/gpu"))
    assert gpu.name == f"{first.name}-nvidia-com-gpu"
    assert list(kfp.versions) == [first.pipeline_version_id, gpu.pipeline_version_id] and len(kfp.pipelines) == 1
    compiler.Compiler().compile(portraits, str(tmp_path / "p.yaml"))
    raw = b'--x\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.yaml"\r\n\r\n%s\r\n--x--\r\n'
    again = multipart("multipart/form-data; boundary=x", raw % (tmp_path / "p.yaml").read_bytes())
    with serving() as other:
        other.add("pipelines", {"display_name": "p"})
        made = other.add_version({"pipelineid": next(iter(other.pipelines)), "name": "v"}, again)
    assert kfp.versions[first.pipeline_version_id]["pipeline_spec"] == made["pipeline_spec"]


def test_upload_refuses_what_is_no_commit(client: Server, portraits: BaseComponent, checkout: Path, kfp: KfpServer) -> None:
    (checkout / "pipeline.py").write_text("second\n")
    with pytest.raises(ConfigError, match=r"pipeline\.py changed since: commit first"):
        upload(client, portraits, Cluster())
    (checkout / "pipeline.py").write_text("first\n")
    (checkout / "cluster.yaml").write_text("gpu_type: nvidia.com/gpu\n")  # one's own values are in the version's label
    assert version_name(Cluster())
    subprocess.run(["rm", "-rf", str(checkout / ".git")], check=True)
    with pytest.raises(ConfigError, match="has none"):
        version_name(Cluster())
    assert not kfp.asked


@pytest.mark.parametrize("path", ["/pipelines", "/pipelines/upload_version"])
def test_without_the_permission_nothing_is_left_half_done(
    path: str, kfp: KfpServer, client: Server, portraits: BaseComponent, checkout: Path
) -> None:
    kfp.fail("POST", path, 403)
    with pytest.raises(ServerError, match=r"403.*ask its administrator for the permission"):
        upload(client, portraits, Cluster())
    assert not kfp.pipelines and not kfp.versions


@pytest.mark.parametrize("fault", [{"status": 409}, {"status": 500}, {"status": 200, "delay": 1.3}], ids=["409", "500", "slow"])
@pytest.mark.parametrize("path", ["/pipelines", "/pipelines/upload_version"])
def test_upload_when_the_answer_is_lost(
    path: str, fault: dict, kfp: KfpServer, client: Server, portraits: BaseComponent, checkout: Path
) -> None:
    kfp.fail("POST", path, done=True, **fault)
    assert [upload(client, portraits, Cluster()).pipeline_version_id] == list(kfp.versions)
    assert len(kfp.pipelines) == 1


def test_the_namespace_goes_with_what_is_made(
    kfp: KfpServer, portraits: BaseComponent, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_NAMESPACE", "team")
    server = Server(kfp.host)
    server.experiment("e")
    upload(server, portraits, Cluster())
    assert {entry["namespace"] for entry in (*kfp.experiments.values(), *kfp.pipelines.values())} == {"team"}
