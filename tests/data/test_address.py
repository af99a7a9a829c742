"""Addresses of versioned pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.data import Address, DataError, is_address
from magicapture.data.address import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git+https://h.org/a/b.git@main#subjects/anna", ("https://h.org/a/b.git", "main", "subjects/anna")),
        ("git+https://h.org:8443/b#x", ("https://h.org:8443/b", "", "x")),
        ("git+ssh://git@h.org/a/b.git@feature/new#subjects/anna/", ("ssh://git@h.org/a/b.git", "feature/new", "subjects/anna")),
        ("git+ssh://git@h.org/b.git#x", ("ssh://git@h.org/b.git", "", "x")),
        ("git+file:///srv/b.git@0123abc#x", ("file:///srv/b.git", "0123abc", "x")),
    ],
)
def test_parts(text: str, expected: tuple[str, str, str]) -> None:
    address = Address.parse(text)
    assert (address.url, address.revision, address.folder) == expected
    assert Address.parse(str(address)) == address
    assert is_address(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("git+git@h.org:a/b.git#x", "expected git.URL@REVISION#FOLDER"),
        ("git+ftp://h.org/b#x", "its URL https, http, ssh or file"),
        ("git+https://h.org#x", "expected git.URL@REVISION#FOLDER"),
        ("git+https://h.org/b?ref=main#x", "expected git.URL@REVISION#FOLDER"),
        ("git+https://h.org/b@main", "expected the folder within the repository after #"),
        ("git+https://h.org/b@main#../../etc", "expected the folder within the repository after #"),
        ("git+https://h.org/b@main#a//b", "expected the folder within the repository after #"),
        ("git+https://h.org/b@#a", "expected one @ before the revision"),
        ("git+https://h.org/b@x@y#a", "expected one @ before the revision"),
    ],
)
def test_what_is_no_address_is_said(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Address.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "git+https://user:hunter2@h.org/b#x",
        "git+https://hunter2@h.org/b#x",
        "git+ftp://u:hunter2@h.org/b#x",
        "git+ssh://bob:hunter2@h.org/b.git@main#x",
        "git+ssh://bob:hunter2@h.org/b.git#",
        "git+file://u:hunter2@h/b#x",
        "git+https://h.org/b.git?private_token=hunter2#x",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(DataError) as caught:
        Address.parse(text)
    assert "hunter2" not in str(caught.value)
    assert "GIT_PASSWORD" in str(caught.value) or "expected git+URL" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git+https://user:hunter2@h.org/b#x", "git+https://***@h.org/b#x"),
        ("git+https://user:p@hunter2@h.org/b@main#x", "git+https://***@h.org/b@main#x"),
        ("https://hunter2@h.org", "https://***@h.org"),
        ("cannot reach postgresql+psycopg2://u:hunter2@h:5432/db", "cannot reach postgresql+psycopg2://***@h:5432/db"),
        ("https://h.org/b@main and http://u:hunter2@h.org/", "https://h.org/b@main and http://***@h.org/"),
        ("https://h.org:8443/b@main", "https://h.org:8443/b@main"),
        ("sqlite:///runs@home/mlflow.db", "sqlite:///runs@home/mlflow.db"),
        ("GET https://h.org/b?token=hunter2@x#y failed; why? no //", "GET https://h.org/b?***#y failed; why? no //"),
        ("postgresql:///db?user=u&password=hunter2", "postgresql:///db?***"),
    ],
)
def test_what_people_read_has_no_password(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(text, mask="") == expected.replace("***@", "").replace("?***", "")


def test_folders_are_not_addresses() -> None:
    assert not any(map(is_address, ("data/person", "/srv/git+x", "https://h.org/b", Path("git+x"))))
