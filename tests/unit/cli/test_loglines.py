"""Log lines of all parts: read, put in order, filtered, followed over rotation."""

import json
from datetime import UTC, datetime

import pytest

from funcatron.cli import loglines
from funcatron.cli.loglines import Filter, Tail, gather, parse
from funcatron.errors import FuncatronError


@pytest.fixture
def tail(tmp_path):
    made = Tail(tmp_path / "x.log")
    yield made
    made.close()


def entry(time="2026-01-31T12:00:00.500Z", **fields):
    return json.dumps({"time": time, "level": "info", "component": "tron", "message": "hello", **fields})


def test_a_line_of_ours_is_read_with_all_its_fields():
    line = parse(entry(level="warning", **{"request-id": "r1", "sha": "abc"}), "file")
    assert (line.level, line.component) == (30, "tron")
    assert line.when == datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC).timestamp()
    assert line.fields["request-id"] == "r1"


@pytest.mark.parametrize(
    ("raw", "level", "message"),
    [
        ("2026/01/31 12:00:00 [error] 1#1: *2 no link", 40, "1#1: *2 no link"),
        ("2026-01-31 12:00:00,123 INFO spawned: 'tron' with pid 7", 20, "spawned: 'tron' with pid 7"),
        ("2026-01-31 12:00:00.123456+00:00 [notice] <0.1.0> up", 20, "<0.1.0> up"),
        ("2026-01-31 12:00:00,1 CRIT bad", 50, "bad"),
    ],
)
def test_lines_of_nginx_the_supervisor_and_erlang_are_read_as_well(raw, level, message):
    line = parse(raw, "x")
    assert (line.level, line.fields["message"], line.component) == (level, message, "x")
    assert line.when > 0


@pytest.mark.parametrize(
    "raw", ["Traceback (most recent call last):", "{not json", "[1, 2]", '{"time": "never"}', "{}"]
)
def test_any_other_text_is_a_message_at_the_time_of_the_line_before(raw):
    assert parse(raw, "x", before=42.0).when == 42.0


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (Filter(), True),
        (Filter(component="runner"), True),
        (Filter(component="runner-1"), True),
        (Filter(component="tron"), False),
        (Filter(sha="abcd"), True),
        (Filter(sha="bcd"), False),
        (Filter(shas=frozenset({"abcdef01"})), True),
        (Filter(shas=frozenset()), False),
        (Filter(request_id="r1"), True),
        (Filter(request_id="r"), False),
        (Filter(level=30), False),
    ],
)
def test_a_filter_lets_through_what_it_names(wanted, seen):
    line = parse(entry(component="runner-1", sha="abcdef01", **{"request-id": "r1"}), "x")
    assert wanted(line) is seen


def test_lines_of_several_files_come_in_the_order_of_time(tmp_path):
    (tmp_path / "a.log").write_text(entry("2026-01-31T12:00:01Z", message="2") + "\n")
    (tmp_path / "b.log").write_text(
        entry("2026-01-31T12:00:00Z", message="1") + "\n" + entry("2026-01-31T12:00:02Z", message="3") + "\n"
    )
    tails = {}
    assert [line.fields["message"] for line in gather(tmp_path, tails, Filter())] == ["1", "2", "3"]
    for tail in tails.values():
        tail.close()


def test_a_line_is_shown_when_it_is_whole(tail):
    file = tail.file
    assert list(tail.lines()) == []
    file.write_text("2026-01-31 12:00:00,1 INFO ha")
    assert list(tail.lines()) == []
    with file.open("a") as stream:
        stream.write("lf\nnext")
    assert [line.fields["message"] for line in tail.lines()] == ["half"]


def test_what_comes_after_a_rotation_is_read_and_nothing_twice(tail, tmp_path):
    file = tail.file
    file.write_text("one\n")
    assert [line.raw for line in tail.lines()] == ["one"]
    with file.open("a") as stream:
        stream.write("two\n")
    file.rename(tmp_path / "x.log.1")
    file.write_text("three\n")
    assert [line.raw for line in tail.lines()] == ["two", "three"]
    assert list(tail.lines()) == []


def test_a_file_that_was_cut_is_read_from_its_beginning(tail):
    file = tail.file
    file.write_text("a long line\n")
    list(tail.lines())
    file.write_text("new\n")
    assert [line.raw for line in tail.lines()] == ["new"]


def test_an_unknown_level_is_an_error_that_names_the_known_ones():
    with pytest.raises(FuncatronError, match="use debug, info, warning or error"):
        loglines.severity("loud")


def test_a_folder_without_logs_says_what_to_do(tmp_path):
    with pytest.raises(FuncatronError, match="make up"):
        loglines.show(tmp_path / "none", Filter(), 10, follow=False, raw=False)


def test_raw_lines_come_out_as_they_are(tmp_path, capsys):
    (tmp_path / "x.log").write_text(entry(strange="ä") + "\nplain\n")
    loglines.show(tmp_path, Filter(), 0, follow=False, raw=True)
    assert capsys.readouterr().out == entry(strange="ä") + "\nplain\n"


def test_only_the_last_lines_are_shown(tmp_path, capsys):
    (tmp_path / "x.log").write_text("".join(f"{number}\n" for number in range(10)))
    loglines.show(tmp_path, Filter(), 2, follow=False, raw=True)
    assert capsys.readouterr().out == "8\n9\n"


def test_following_shows_what_comes(tmp_path, monkeypatch):
    file = tmp_path / "x.log"
    file.write_text("before\n")
    shown = []

    class Recorder:
        def __init__(self, raw):
            pass

        def show(self, lines):
            shown.extend(line.raw for line in lines)
            if "after" in shown:
                raise KeyboardInterrupt

    monkeypatch.setattr(loglines, "Printer", Recorder)
    monkeypatch.setattr(loglines.time, "sleep", lambda _: file.write_text("before\nafter\n"))
    with pytest.raises(KeyboardInterrupt):
        loglines.show(tmp_path, Filter(), 10, follow=True, raw=True)
    assert shown == ["before", "after"]


def test_a_line_for_people_has_its_ids_and_its_trace():
    line = parse(
        entry(sha="abcdef0123", operation="a.b", exc_info="Traceback\n  boom", **{"request-id": "r1"}, extra=7), "x"
    )
    text = loglines.render(line).plain
    assert "[r1] abcdef01 a.b hello extra=7" in text
    assert text.endswith("\nTraceback\n  boom")
