"""Large bodies in the shared folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from funcatron.errors import BadMessage
from funcatron.runner.bodies import ABANDONED, Bodies

ID = "5e0c7a9e-0000-4000-8000-000000000000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shared folder as the stack makes it, with one spooled body."""
    for name in ("requests", "answers"):
        (tmp_path / name).mkdir()
    (tmp_path / "id").write_text(ID + "\n")
    (tmp_path / "requests" / "0000000001").write_bytes(b"spooled")
    return tmp_path


def test_a_spooled_body_is_read(folder: Path) -> None:
    assert Bodies(folder, 100).read("requests/0000000001", ID) == b"spooled"


def test_a_body_of_another_folder_is_refused_with_a_sentence(folder: Path) -> None:
    with pytest.raises(BadMessage, match="does not share"):
        Bodies(folder, 100).read("requests/0000000001", "another")
    with pytest.raises(BadMessage, match="does not share"):
        Bodies(None, 100).read("requests/0000000001", ID)


@pytest.mark.parametrize(
    "name", ["requests/../id", "/etc/hostname", "id", "requests/", "requests/1/../../id", "answers/1"]
)
def test_only_spooled_bodies_can_be_named(folder: Path, name: str) -> None:
    """A message comes from the broker, and a Runner may read everything."""
    with pytest.raises(BadMessage, match="not the name"):
        Bodies(folder, 100).read(name, ID)


def test_the_body_of_a_request_that_has_gone_is_told_apart(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Bodies(folder, 100).read("requests/0000000002", ID)


def test_an_answer_is_kept_under_a_name_of_its_own(folder: Path) -> None:
    bodies = Bodies(folder, 100)
    names = [bodies.keep(body) for body in (b"one", bytearray(b"two"))]
    assert [(folder / "answers" / str(name)).read_bytes() for name in names] == [b"one", b"two"]


def test_an_answer_that_cannot_be_written_is_none(folder: Path) -> None:
    """Then it travels in its message."""
    (folder / "answers").rmdir()
    assert Bodies(folder, 100).keep(b"x") is None


def test_a_folder_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    assert Bodies(tmp_path / "missing", 100).id == ""


def test_what_nobody_came_for_is_swept_away_and_what_is_young_stays(folder: Path) -> None:
    bodies = Bodies(folder, 100)
    old, young = bodies.keep(b"old"), bodies.keep(b"young")
    at = (folder / "answers" / str(young)).stat().st_mtime
    os.utime(folder / "answers" / str(old), (at - ABANDONED - 1, at - ABANDONED - 1))
    assert bodies.sweep(at) == 1
    assert [file.name for file in (folder / "answers").iterdir()] == [young]
    assert (folder / "requests" / "0000000001").exists()
