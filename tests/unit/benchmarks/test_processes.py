"""Children are ended by their own ids, with all that they started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.processes import BenchError, Process, free_ports, until
from benchmarks.procfs import family

STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"


def gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_stop_ends_children_that_do_not_listen(tmp_path: Path) -> None:
    process = Process("parent", [sys.executable, "-c", PARENT], tmp_path)
    process.wait_until(lambda: "up" in process.tail())
    pids = family(process.pid)
    assert len(pids) == 2

    process.stop(grace=1)
    process.stop()

    assert until(lambda: all(gone(pid) for pid in pids), 5)


def test_a_process_that_ends_early_is_an_error_with_its_log(tmp_path: Path) -> None:
    process = Process("failing", [sys.executable, "-c", "import sys; sys.exit('no such luck')"], tmp_path)

    with pytest.raises(BenchError, match="no such luck"):
        process.wait_until(lambda: False)
    process.stop()


def test_a_process_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    process = Process("slow", [sys.executable, "-c", "import signal; signal.pause()"], tmp_path)
    try:
        with pytest.raises(BenchError, match="was not ready"):
            process.wait_until(lambda: False, seconds=0.2)
    finally:
        process.stop()


def test_a_child_sees_only_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    code = "import os; print(sorted(set(os.environ) & {'SECRET_OF_THE_CALLER', 'GIVEN'}), 'done', flush=True)"
    process = Process("env", [sys.executable, "-c", code], tmp_path, env={"GIVEN": "1"})

    assert until(lambda: "done" in process.tail(), 10)
    process.stop()

    assert "['GIVEN'] done" in process.tail()


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
