"""Logs of instances."""

from __future__ import annotations

from pathlib import Path

from funcatron.substrates.process import logs


def test_the_tail_is_what_was_written_since_the_start(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert logs.tail(log) == ()
    log.write_text("earlier\n")
    since = logs.size(log)
    with log.open("a") as stream:
        stream.write("".join(f"line {number}\n\n" for number in range(30)) + "half a li")
    assert logs.tail(log, since, 3) == ("line 28", "line 29", "half a li")
    assert logs.tail(log, since, 100)[0] == "line 0"
    assert logs.tail(log, logs.size(log)) == ()


def test_the_tail_of_a_log_that_was_cut_off_meanwhile_is_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("new\n")
    assert logs.tail(log, 1000) == ("new",)


def test_the_tail_of_a_huge_log_with_anything_in_it_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff" * 100_000 + b"\nlast\n")
    *_, last = logs.tail(log)
    assert last == "last"
    assert sum(map(len, logs.tail(log))) <= logs.TAIL


def test_a_full_log_is_set_aside_and_its_writer_goes_on_in_an_empty_one(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("a") as writer:
        for number in range(logs.BACKUPS + 2):
            writer.write(f"{number}" * 10)
            writer.flush()
            assert logs.rotate(log, 10)
            assert not logs.rotate(log, 10)
    assert log.read_text() == ""
    assert logs.size(log) == 0
    assert [logs.backup(log, number).read_text()[0] for number in (1, 2, 3)] == ["4", "3", "2"]
    assert not logs.backup(log, 4).exists()
    logs.remove(log)
    logs.remove(log)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_is_not_full_or_not_there_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert not logs.rotate(log, 10)
    log.write_text("x" * 9)
    assert not logs.rotate(log, 10)
    assert log.read_text() == "x" * 9
