"""What instances and machines use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from funcatron.substrates.process import figures, proc
from funcatron.substrates.process.proc import Identity, Stat


def made(pid: int, parent: int) -> Stat:
    return Stat(Identity(pid, pid), "S", parent, pid, False, 1.0, 100, 0)


def test_a_family_is_a_process_with_all_that_descend_from_it() -> None:
    everything = [made(4, 3), made(3, 2), made(2, 1), made(5, 2), made(6, 1), made(1, 0)]
    found = figures.families([2, 6, 99], everything)
    assert {pid: {it.identity.pid for it in family} for pid, family in found.items()} == {2: {2, 3, 4, 5}, 6: {6}}


def test_a_line_of_stat_is_parsed_whatever_the_process_is_called() -> None:
    fields = ["S", "7", "1", "42", "0", "-1", "4194560", "0", "0", "0", "0", "250", "50", "100", "0", *["0"] * 4, "987"]
    fields += ["0", "3", *["0"] * 27, "256", "0", "0"]
    found = proc.parse_stat(f"12 (a b) c) 1 (x) {' '.join(fields)}")
    assert (found.identity, found.state, found.parent, found.session) == (Identity(12, 987), "S", 7, 42)
    assert not found.kernel
    assert (found.cpu_seconds, found.resident_bytes) == (400 / proc.TICKS, 3 * proc.PAGE)
    assert found.exit_status == 256


def test_the_figures_of_a_real_process_are_what_it_used() -> None:
    before = proc.stat(os.getpid())
    while os.times().user + os.times().system < 0.3:
        sum(range(10_000))
    after = proc.stat(os.getpid())
    assert before is not None
    assert after is not None
    assert after.cpu_seconds >= 0.25
    assert after.identity == before.identity
    assert after.resident_bytes > 5_000_000


def test_how_a_process_ended_is_known_once_it_is_buried() -> None:
    for code, expected in (("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)):
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
        found = proc.stat(process.pid)
        assert found is not None
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not proc.alive(found.identity)
        assert proc.bury(found.identity) == expected
        assert proc.bury(found.identity) is None
        process.returncode = expected  # so that it does not look for it


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "SIGKILL (out of memory"),
        (-11, "SIGSEGV"),
        (-99, "signal 99"),
        (None, "nobody saw"),
    ],
)
def test_an_end_is_put_into_words(code: int | None, text: str) -> None:
    assert text in proc.describe(code)


def test_the_machine_has_what_it_says() -> None:
    machine = figures.machine()
    assert 0 < machine.cores <= (os.cpu_count() or 1)
    assert 0 < machine.available_bytes <= machine.memory_bytes
    assert machine.cpu_seconds > 0
    assert figures.machine().cpu_seconds >= machine.cpu_seconds


GROUP = "4:cpu,cpuacct:/a/b\n3:memory:/a/b\n0::/c"
FILES = {
    "memory/memory.limit_in_bytes": "9223372036854771712",
    "memory/a/memory.limit_in_bytes": "1000000",
    "memory/a/memory.usage_in_bytes": "700000",
    "memory/a/memory.stat": "cache 5\ntotal_inactive_file 100000",
    "memory/a/b/memory.limit_in_bytes": "2000000",
    "memory/a/b/memory.usage_in_bytes": "1",
    "cpu/a/b/cpu.cfs_quota_us": "50000",
    "cpu/a/b/cpu.cfs_period_us": "100000",
    "cpu/a/cpu.cfs_quota_us": "-1",
    "cpu/a/cpu.cfs_period_us": "100000",
    "c/memory.max": "max",
    "c/cpu.max": "max 100000",
}
FILES_2 = {
    "c/memory.max": "3000000",
    "c/memory.current": "400000",
    "c/memory.stat": "anon 1\ninactive_file 50000",
    "c/cpu.max": "150000 100000",
    "memory.max": "max",
}


@pytest.mark.parametrize(
    ("group", "files", "limit", "used", "cores"),
    [
        (GROUP, FILES, 1_000_000, 600_000, 0.5),
        ("0::/c", FILES_2, 3_000_000, 350_000, 1.5),
        ("0::/c/not-seen-from-here", FILES_2, 3_000_000, 350_000, 1.5),
        ("", {}, None, 0, 8.0),
    ],
)
def test_control_groups_of_both_versions_limit_what_there_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    files: dict[str, str],
    limit: int | None,
    used: int,
    cores: float,
) -> None:
    groups, process = tmp_path / "groups", tmp_path / "proc" / str(os.getpid())
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")
    process.mkdir(parents=True)
    (process / "cgroup").write_text(group)
    monkeypatch.setattr(figures, "PROC", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert figures.memory_limit(os.getpid(), groups) == limit
    assert figures.memory_used(os.getpid(), groups) == used
    assert figures.cores(groups) == cores


def test_a_machine_in_a_small_group_has_what_the_group_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "memory_limit", lambda pid, groups: 1_000_000)
    monkeypatch.setattr(figures, "memory_used", lambda pid, groups: 400_000)
    machine = figures.machine(tmp_path)
    assert (machine.memory_bytes, machine.available_bytes) == (1_000_000, 600_000)
