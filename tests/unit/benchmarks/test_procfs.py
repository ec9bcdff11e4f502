"""CPU and memory out of /proc."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks import procfs


def test_stat_is_read_also_when_the_command_holds_blanks_and_brackets() -> None:
    line = "42 (tricky) name (x) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 1 0 1000 0 0"

    parent, seconds = procfs.parse_stat(line)

    assert parent == 7
    assert seconds == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))


def test_status_lines_are_kilobytes() -> None:
    assert procfs.parse_kb("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS") == 2048 * 1024


def test_a_missing_status_line_is_an_error() -> None:
    with pytest.raises(KeyError):
        procfs.parse_kb("Name:\tkworker\n", "VmRSS")


def test_the_family_has_children_and_grandchildren_after_their_parents() -> None:
    grandchild = "import sys; print('up', flush=True); sys.stdin.read()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

        family = procfs.family(process.pid)

        assert family[0] == process.pid
        assert len(family) == 2
        assert procfs.rss(process.pid) > 1_000_000
        assert "sys.stdin.read" in procfs.title(family[1])
        process.communicate()


def test_a_process_that_has_gone_used_no_cpu_and_has_no_title() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(10)

    assert procfs.cpu([process.pid]) == 0
    assert procfs.title(process.pid) == ""


def test_this_process_has_used_cpu() -> None:
    assert procfs.cpu([os.getpid()]) > 0
    assert 0 < procfs.pss(os.getpid()) <= procfs.rss(os.getpid()) * 1.5
