"""`PythonHostDriver`: unpacks a PEX once, and starts the host program in the PEX's own environment."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from funcatron.errors import HostError
from funcatron.hosts.base import Command, HostDriver, Limits, Prepared
from funcatron.hosts.python import pex
from funcatron.hosts.python.interpreters import Interpreter
from funcatron.hosts.spawn import barrier, launcher, tool

PROGRAM = Path(__file__).parent / "funcatron_host"
START = "import sys; sys.path.insert(0, sys.argv[1]); from funcatron_host.main import main; main()"
RECORD = "prepared.json"
COMPILED = "compiled"
CODE = ("code", "env/lib")
NOBODY = 65534
LIMITS = Limits(memory=1024 * 1024 * 1024, files=256, cpu=600)  # of compiling
# what `import funcatron` finds in a host, unless the bundle brings its own
FACADE = """\"\"\"Funcatron as a Func sees it in its host.\"\"\"

from funcatron_host.api import *
from funcatron_host.api import __all__
"""


class PythonHostDriver(HostDriver):
    """Hosts for bundles of kind `python`."""

    kind = "python"

    async def prepare(self, bundle: Path, folder: Path) -> Prepared:
        """See HostDriver. Beside `folder` stand its lock, and the host program, once for all bundles."""
        return await asyncio.to_thread(prepare, bundle, folder)

    def command(self, prepared: Prepared) -> Command:
        """See HostDriver."""
        env = prepared.folder / "env"
        argv = (str(env / "bin" / "python"), "-I", "-c", START, prepared.details["program"])
        path = f"{env / 'bin'}:{os.environ.get('PATH', os.defpath)}"
        # glibc reserves 64 MB of address space for each arena: many threads would use up what the limit allows
        return Command(argv, {"PATH": path, "MALLOC_ARENA_MAX": "2"}, prepared.folder / "code")


def prepare(bundle: Path, folder: Path) -> Prepared:
    """Unpack `bundle` into `folder` unless that is done; blocks while another process does it."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not (folder / RECORD).exists():
        with open(folder.parent / f".{folder.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / RECORD).exists():
                _unpack(bundle, folder)
    details = json.loads((folder / RECORD).read_text())
    interpreter = Interpreter(Path(details["python"]), tuple(details["version"]))
    if not (folder / COMPILED).exists():
        _compile_later(folder)
    return Prepared(folder, {**details, "program": str(install_program(folder.parent, interpreter))})


def _unpack(bundle: Path, folder: Path) -> None:
    for left in folder.parent.glob(f".{folder.name}.new-*"):  # of a process that died: the lock is ours
        pex.remove(left)
    new = folder.with_name(f".{folder.name}.new-{uuid.uuid4().hex}")
    try:
        new.mkdir(mode=0o755)
        interpreter = pex.unpack(bundle, new, folder)
        details = {"python": str(interpreter.path), "version": list(interpreter.version)}
        (new / RECORD).write_text(json.dumps(details))
        _open_to_all(new)
        shutil.rmtree(folder, ignore_errors=True)  # something without a record: not ours, or of an older kind
        new.rename(folder)
    finally:
        pex.remove(new)


_compiling: set[Path] = set()


def _compile_later(folder: Path) -> None:
    """Compile the modules of an unpacked bundle beside everything else: hosts cannot write there themselves.

    A host that starts meanwhile just starts as slowly as without.
    """
    if folder in _compiling:
        return
    _compiling.add(folder)

    def run() -> None:
        try:
            with suppress(OSError, HostError):  # the folder may have been removed; it works without, too
                compile_bundle(folder)
                (folder / COMPILED).touch()
        finally:
            _compiling.discard(folder)

    threading.Thread(target=run, name="compile", daemon=True).start()


def compile_bundle(folder: Path) -> None:
    """Compile what was unpacked.

    The compiler reads what strangers wrote, so it runs in a process with limits, and without the rights of root: it
    writes to a folder of its own (`pycache_prefix`), from where plain files are taken over. Where others cannot reach
    the bundle, its hosts run as this user as well, and so does the compiler.
    """
    nobody = NOBODY if os.geteuid() == 0 and barrier(folder / RECORD) is None else None
    with tempfile.TemporaryDirectory(prefix="funcatron-compile-") as name:
        if nobody is not None:
            os.chown(name, nobody, nobody)
        python = [str(folder / "env" / "bin" / "python"), "-I", "-X", f"pycache_prefix={name}"]
        code = [str(folder / part) for part in CODE]
        subprocess.run(
            [*launcher(LIMITS, own_user=False), tool("nice"), "-n", "19", *python, "-m", "compileall", "-qq", *code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            user=nobody,
            group=nobody,
            extra_groups=[] if nobody is not None else None,
            check=False,  # modules that do not compile are normal
        )
        for compiled in Path(name).rglob("*.pyc"):
            module = Path("/", compiled.relative_to(name))
            if not compiled.is_symlink() and compiled.is_file() and module.is_relative_to(folder):
                _take_over(compiled, module.parent / "__pycache__" / module.name)


def _take_over(compiled: Path, place: Path) -> None:
    place.parent.mkdir(mode=0o755, exist_ok=True)
    new = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    shutil.copyfile(compiled, new, follow_symlinks=False)
    new.chmod(0o644)
    new.rename(place)


def _open_to_all(folder: Path) -> None:
    """Hosts run as users of their own: they may read, and only the Runner's user may write."""
    for place, folders, files in os.walk(folder):
        os.chmod(place, 0o755)
        for name in files:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)
        folders[:] = [name for name in folders if not os.path.islink(os.path.join(place, name))]


def install_program(cache: Path, interpreter: Interpreter) -> Path:
    """Copy the host program into the cache, compiled, where every user can read it; return its folder."""
    digest = hashlib.sha256(FACADE.encode())
    sources = sorted(PROGRAM.rglob("*.py"))
    for source in sources:
        digest.update(source.relative_to(PROGRAM).as_posix().encode() + b"\0" + source.read_bytes())
    name = f"python-host-{'.'.join(map(str, interpreter.version[:2]))}-{digest.hexdigest()[:16]}"
    target = cache / name
    if target.exists():
        return target
    new = cache / f".{name}.{uuid.uuid4().hex}"
    try:
        for source in sources:
            inside = source.relative_to(PROGRAM)
            place = new / "funcatron_host" / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        (new / "facade" / "funcatron").mkdir(parents=True)
        (new / "facade" / "funcatron" / "__init__.py").write_text(FACADE)
        _compile(new, interpreter)
        _open_to_all(new)
        _rename(new, target)
    finally:
        pex.remove(new)
    return target


def _compile(folder: Path, interpreter: Interpreter) -> None:
    if interpreter.version[:2] == sys.version_info[:2]:
        import compileall

        compileall.compile_dir(folder, quiet=2, stripdir=folder)
        return
    argv = [str(interpreter.path), "-I", "-m", "compileall", "-q", str(folder)]
    try:
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as err:
        raise HostError(f"the Func host cannot be compiled for {interpreter}: {err}") from err


def _rename(new: Path, target: Path) -> None:
    try:
        new.rename(target)
    except OSError:
        if not target.exists():  # else another process was faster, with the same content
            raise
