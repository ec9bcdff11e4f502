"""A PostgreSQL server of a test's own: a folder of its own, a Unix socket in it, no TCP port, never as root."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PROGRAMS = Path("/usr/lib/postgresql")
PORT = 5432  # only part of the socket's name: the folder is the server's own
BOOT = 60.0  # s that a server may take to start or to stop, on a loaded machine
ACCOUNTS = ("postgres", "nobody")  # who runs it where the tests run as root, which PostgreSQL refuses


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL of this machine (Debian's layout), or of the one in PATH."""
    found = sorted(PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3].partition(".")[0]))
    there = found[-1] if found else shutil.which("initdb")
    return Path(there).resolve().parent if there else None


class PostgresNode:
    """A private server. Start it, stop it, kill it, pause it; data survive until `remove`."""

    user = "funcatron"

    def __init__(self) -> None:
        found = programs()
        assert found is not None, "no PostgreSQL is installed"
        self._programs = found
        self.folder = Path(tempfile.mkdtemp(prefix="funcatron-pg-"))  # short: a socket's path has 107 bytes at most
        self._account = _account()
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._server: subprocess.Popen[bytes] | None = None
        self._made = False

    def start(self) -> PostgresNode:
        """Start the server and wait until it answers."""
        if not self._made:
            data = str(self.folder / "data")
            self._run("initdb", "-D", data, "-U", self.user, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            self._made = True
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    str(self._programs / "postgres"),
                    *("-D", str(self.folder / "data"), "-k", str(self.folder), "-p", str(PORT)),
                    *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"),
                    *("-c", "max_connections=60", "-c", "autovacuum=off"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_account(),
            )
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """Stop the server at once, in an orderly way; clients are cut off, data stay."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End all its processes as a crash would (kill -9); data stay as they are."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop all its processes (SIGSTOP): connections stay, nothing is answered any more."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and delete the data."""
        if self._server is not None:
            self.resume()
            self._end(signal.SIGQUIT)  # at once, but it gives its shared memory back
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://{self.user}@/{name}?host={self.folder}&port={PORT}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run SQL and return what it selects, a line a row."""
        where = ("-h", str(self.folder), "-p", str(PORT), "-U", self.user, "-d", database)
        return self._run("psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", *where, "-c", statement).strip()

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            timeout=BOOT,
            check=False,
            cwd=self.folder,
            **self._as_account(),
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")
        return done.stdout

    def _as_account(self) -> dict[str, Any]:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": str(self.folder)}
        if self._account is None:
            return {"env": environment}
        return {
            "env": environment,
            "user": self._account.pw_uid,
            "group": self._account.pw_gid,
            "extra_groups": [],
        }

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + BOOT
        while True:
            assert self._server is not None
            if self._server.poll() is not None:
                raise RuntimeError(
                    f"postgres ended with {self._server.returncode}: {(self.folder / 'log').read_text()}"
                )
            try:
                self.sql("SELECT 1")
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        if how is signal.SIGKILL:
            for pid in [server.pid, *_children(server.pid)]:
                _send(pid, how)
        else:
            server.send_signal(how)
        server.wait(BOOT)
        if how is signal.SIGKILL:
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _signal(self, how: signal.Signals) -> None:
        assert self._server is not None
        for pid in [self._server.pid, *_children(self._server.pid)]:
            _send(pid, how)

    def __enter__(self) -> PostgresNode:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()


def _account() -> pwd.struct_passwd | None:
    """Return whom to run it as; None: as who runs the tests."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"root needs one of these accounts to run PostgreSQL as: {', '.join(ACCOUNTS)}")


def _children(pid: int) -> Iterable[int]:
    """Return the server's own processes: each has a session of its own, so that no process group has all."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _send(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
