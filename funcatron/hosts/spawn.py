"""Starts a host's process: scrubbed environment, own session and user, limits, pipes for what it prints."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
from pathlib import Path

from funcatron.errors import HostError
from funcatron.hosts.base import Command, Limits, User

# What a host may know of the Runner's environment: nothing that could be a credential.
KEPT = ("PATH", "LANG", "LANGUAGE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def environment(command: Command, home: Path, socket: Path) -> dict[str, str]:
    """Return the whole environment of a host; `home` is its own folder for files that it writes."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    kept.update({name: value for name, value in os.environ.items() if name.startswith("LC_")})
    kept.setdefault("PATH", DEFAULT_PATH)
    kept.setdefault("LANG", "C.UTF-8")
    return {**kept, "HOME": str(home), "TMPDIR": str(home), **command.env, "FUNCATRON_SOCKET": str(socket)}


def spawn(command: Command, env: dict[str, str], limits: Limits, user: User | None) -> subprocess.Popen[bytes]:
    """Start the process. Call it from a thread that lives as long as the Runner: the kernel kills a host when the
    thread that made it ends. Raises HostError."""
    try:
        return subprocess.Popen(
            [*launcher(limits, own_user=user is not None), *command.argv],
            env=env,
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            umask=0o077,
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise HostError(f"cannot start {command.argv[0]} in {command.cwd}: {err}") from err


def hint(command: Command, user: User | None) -> str:
    """Return what may be the reason that a host does not start: its own user cannot reach it. Else ""."""
    barred = barrier(command.cwd) or barrier(Path(command.argv[0]).resolve()) if user else None
    if barred is None or user is None:
        return ""
    return f"; user {user.uid} cannot pass {barred}: choose another folder (FUNCATRON_CACHE), or chmod o+x {barred}"


def barrier(path: Path) -> Path | None:
    """Return the folder on the way to `path` that other users may not pass; None when they may reach it."""
    for folder in reversed(path.absolute().parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def launcher(limits: Limits, *, own_user: bool) -> list[str]:
    """The programs that set what must hold before any code of the bundle's language runs, each executing the next.

    Lowering one's own limits needs no capability, while prlimit(2) on another user's process needs CAP_SYS_RESOURCE,
    which containers lack. The host dies with the Runner (PR_SET_PDEATHSIG) and gains no privileges by set-uid programs.
    """
    wanted = [("as", resource.RLIMIT_AS, limits.memory), ("nofile", resource.RLIMIT_NOFILE, limits.files)]
    if own_user:
        wanted.append(("nproc", resource.RLIMIT_NPROC, limits.processes))
    flags = []
    for name, kind, most in wanted:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most or hard, hard)
        if most:
            flags.append(f"--{name}={most}:{most}")
    if limits.cpu:  # the soft end sends SIGXCPU, which tells why; the hard one SIGKILL a second later
        flags.append(f"--cpu={limits.cpu}:{limits.cpu + 1}")
    flags.append(f"--core={limits.core}:{limits.core}")
    return [tool("setpriv"), "--pdeathsig=KILL", "--no-new-privs", "--", tool("prlimit"), *flags, "--"]


@functools.cache
def tool(name: str) -> str:
    """The path of a program of util-linux. Raises HostError."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{DEFAULT_PATH}")
    if found is None:
        raise HostError(f"cannot start Func hosts: there is no {name}; install util-linux 2.33 or newer")
    return found
