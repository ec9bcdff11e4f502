"""Unpacking a PEX: once, atomically, into an environment that all users can read and none but the Runner's change."""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import os
import stat
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from funcatron.errors import BadBundle, HostError
from funcatron.hosts import DRIVERS, driver
from funcatron.hosts.python import driver as module
from funcatron.hosts.python.driver import install_program, prepare
from funcatron.hosts.python.interpreters import own
from tests.hosting import write_pex

WHEEL = "thing-1.0-py3-none-any.whl"


def with_wheel(path: Path, **info: object) -> Path:
    """A PEX with one installed wheel, one for Windows, and pex's own files."""
    foreign = "other-1.0-cp311-cp311-win_amd64.whl"
    alike = "other-1.0-py3-none-any.whl"
    files: dict[str, str | bytes] = {
        "app.py": "import thing\n",
        "package/data.json": "{}",
        ".bootstrap/pex/pex.py": "raise SystemExit",
        "__pex__/__init__.py": "raise SystemExit",
        f".deps/{WHEEL}/thing.py": "value = 7\n",
        f".deps/{WHEEL}/.layout.json": "{}",
        f".deps/{WHEEL}/thing-1.0.pex-info/x": "",
        f".deps/{WHEEL}/thing-1.0.dist-info/METADATA": "Name: thing\nVersion: 1.0\n",
        f".deps/{WHEEL}/.prefix/bin/thing": "#!/some/python\nimport thing; print(thing.value)\n",
        f".deps/{WHEEL}/.prefix/share/thing.txt": "shared",
        f".deps/{foreign}/other.py": "value = 'windows'\n",
        f".deps/{alike}/other.py": "value = 'here'\n",
    }
    return write_pex(path, files, {"distributions": {WHEEL: "", foreign: "", alike: ""}, **info})


def run(folder: Path, code: str) -> str:
    argv = [folder / "env" / "bin" / "python", "-I", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def test_code_and_libraries_are_unpacked_apart_and_pexs_own_files_are_not(tmp_path: Path) -> None:
    prepared = prepare(with_wheel(tmp_path / "a.pex"), tmp_path / "cache" / "sha")
    code = {p.relative_to(prepared.folder / "code").as_posix() for p in (prepared.folder / "code").rglob("*.*")}
    assert {name for name in code if "__pycache__" not in name} == {"app.py", "funcatron.yaml", "package/data.json"}
    assert run(prepared.folder, "import thing, other, app; print(thing.value, other.value)") == "7 here"
    assert "share" in os.listdir(prepared.folder / "env")
    assert (prepared.folder / "env" / "share" / "thing.txt").read_text() == "shared"
    script = subprocess.run([prepared.folder / "env" / "bin" / "thing"], capture_output=True, text=True, timeout=20)
    assert script.stdout == "7\n"
    assert run(prepared.folder, "import importlib.metadata as m; print(m.version('thing'))") == "1.0"


def test_libraries_may_be_wheel_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("thing.py", "value = 8\n")
        wheel.writestr("thing-1.0.data/purelib/pure.py", "value = 9\n")
        wheel.writestr("thing-1.0.data/scripts/tool", "#!python\nprint('tool')\n")
        wheel.writestr("thing-1.0.data/data/etc/thing.conf", "x")
        wheel.writestr("thing-1.0.data/headers/thing.h", "x")
    info = {"distributions": {WHEEL: ""}, "deps_are_wheel_files": True}
    path = write_pex(tmp_path / "a.pex", {f".deps/{WHEEL}": buffer.getvalue()}, info)
    folder = prepare(path, tmp_path / "cache" / "sha").folder
    assert run(folder, "import thing, pure; print(thing.value, pure.value)") == "8 9"
    assert (folder / "env" / "etc" / "thing.conf").read_text() == "x"
    script = subprocess.run([folder / "env" / "bin" / "tool"], capture_output=True, text=True, timeout=20)
    assert script.stdout == "tool\n"


def test_a_wheel_file_is_checked_as_the_bundle_is(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("../../evil.py", "x")
    info = {"distributions": {WHEEL: ""}, "deps_are_wheel_files": True}
    path = write_pex(tmp_path / "a.pex", {f".deps/{WHEEL}": buffer.getvalue()}, info)
    with pytest.raises(BadBundle, match="outside"):
        prepare(path, tmp_path / "cache" / "sha")
    assert not (tmp_path / "cache" / "sha").exists()


def test_the_second_time_nothing_is_unpacked(tmp_path: Path) -> None:
    path = with_wheel(tmp_path / "a.pex")
    first = prepare(path, tmp_path / "cache" / "sha")
    path.unlink()
    assert prepare(path, tmp_path / "cache" / "sha") == first


def test_unpacking_and_preparing_again_are_fast(tmp_path: Path) -> None:
    path = with_wheel(tmp_path / "a.pex")
    prepare(path, tmp_path / "cache" / "first")  # copies the host program, once a machine
    began = time.perf_counter()
    prepare(path, tmp_path / "cache" / "second")
    assert time.perf_counter() - began < 0.5


def test_everybody_may_read_and_nobody_else_may_write(tmp_path: Path) -> None:
    prepared = prepare(with_wheel(tmp_path / "a.pex"), tmp_path / "cache" / "sha")
    for top in (prepared.folder, Path(prepared.details["program"])):
        for path in [top, *top.rglob("*")]:
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                assert mode & 0o444 == 0o444, path
                assert mode & 0o022 == 0, path
                assert not path.is_dir() or mode & 0o555 == 0o555


def test_what_a_crash_left_is_removed_and_a_half_folder_is_never_used(tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".sha.new-0123"
    (left / "code").mkdir(parents=True)
    half = tmp_path / "cache" / "sha"
    (half / "code").mkdir(parents=True)
    (half / "code" / "old.py").touch()
    prepared = prepare(with_wheel(tmp_path / "a.pex"), half)
    assert not left.exists()
    assert not (prepared.folder / "code" / "old.py").exists()
    assert (prepared.folder / "code" / "app.py").exists()


def test_processes_that_unpack_at_once_share_one_result(tmp_path: Path) -> None:
    path = with_wheel(tmp_path / "a.pex")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=prepare, args=(path, tmp_path / "cache" / "sha")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert not [name for name in os.listdir(tmp_path / "cache") if ".new-" in name]
    assert run(tmp_path / "cache" / "sha", "import thing; print(thing.value)") == "7"


@pytest.mark.parametrize(
    ("info", "sentence"),
    [
        ({"interpreter_constraints": ["==3.7.*"]}, "needs Python ==3.7"),
        ({"distributions": {"x-1.0-cp311-cp311-win32.whl": ""}}, "no fitting wheel of x"),
        ({"distributions": {"x.egg": ""}}, "not a wheel"),
        ({"distributions": []}, "not an object as pex writes it"),
    ],
)
def test_a_bundle_that_cannot_run_here_is_refused_with_a_sentence(
    tmp_path: Path, info: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadBundle, match=sentence):
        prepare(write_pex(tmp_path / "a.pex", {}, info), tmp_path / "cache" / "sha")
    assert os.listdir(tmp_path / "cache") == [".sha.lock"]


def test_pex_info_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pex", "w") as pex:
        pex.writestr("PEX-INFO", "{")
    with pytest.raises(BadBundle, match="not JSON"):
        prepare(tmp_path / "a.pex", tmp_path / "cache" / "sha")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    path = write_pex(tmp_path / "a.pex", {"thing": "x", "thing/module.py": "x"})
    with pytest.raises(BadBundle, match="both a file and a folder"):
        prepare(path, tmp_path / "cache" / "sha")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write_pex(tmp_path / "a.pex", {"app.py": bytes(range(256)) * 100})
    data = bytearray(path.read_bytes())
    data[data.find(b"app.py") + 40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BadBundle, match="damaged"):
        prepare(path, tmp_path / "cache" / "sha")


@pytest.fixture(params=["within reach", "out of reach"])
def cache(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that other users can reach, or not: as root, the compiler runs as one of those where it can."""
    with tempfile.TemporaryDirectory(prefix="funcatron-test-") as name:
        os.chmod(name, 0o755 if request.param == "within reach" else 0o700)
        yield Path(name, "cache")


async def test_modules_are_compiled_beside_everything_else(tmp_path: Path, cache: Path) -> None:
    prepared = await driver("python").prepare(with_wheel(tmp_path / "a.pex"), cache / "sha")
    async with asyncio.timeout(30):
        while prepared.folder in module._compiling:
            await asyncio.to_thread(time.sleep, 0.01)
    compiled = list((prepared.folder / "code" / "__pycache__").glob("app.*.pyc"))
    assert len(compiled) == 1
    assert stat.S_IMODE(compiled[0].stat().st_mode) & 0o444 == 0o444
    assert (prepared.folder / "compiled").exists()
    assert len(list((prepared.folder / "env" / "lib").rglob("thing.*.pyc"))) == 1


def test_the_host_program_is_copied_once_and_compiled(tmp_path: Path) -> None:
    first = install_program(tmp_path, own())
    assert list((first / "funcatron_host" / "__pycache__").glob("engine.*.pyc"))
    before = (first / "funcatron_host").stat().st_mtime_ns
    assert install_program(tmp_path, own()) == first
    assert (first / "funcatron_host").stat().st_mtime_ns == before
    assert len(os.listdir(tmp_path)) == 1


def test_what_a_bundle_imports_as_funcatron_is_there(tmp_path: Path) -> None:
    program = install_program(tmp_path, own())
    code = f"import sys; sys.path += [{str(program)!r}, {str(program / 'facade')!r}]; import funcatron; "
    said = subprocess.run(
        [own().path, "-I", "-S", "-c", code + "print(*sorted(funcatron.__all__))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert said.stdout.strip() == "Cancelled Context Headers NoContent Problem Response context use"


def test_the_command_is_isolated_and_records_are_json(tmp_path: Path) -> None:
    prepared = prepare(write_pex(tmp_path / "a.pex", {}), tmp_path / "cache" / "sha")
    command = driver("python").command(prepared)
    assert command.argv[1] == "-I"
    assert command.cwd == prepared.folder / "code"
    json.dumps(dict(prepared.details))


def test_a_kind_without_a_driver_is_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(HostError, match=f"no Func host for bundles of kind 'cobol'; it has: {', '.join(DRIVERS)}"):
        driver("cobol")
