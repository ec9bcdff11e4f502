"""Building a bundle from a folder: what goes in, the same bytes each time, clear errors."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from funcatron.bundles import build, recognise
from funcatron.bundles.sources import libraries, stage
from funcatron.errors import BadBundle, BadSpec

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    lines: list[str] = []
    first = build(EXAMPLES / "hello", tmp_path / "a.pex", lines.append)
    second = build(EXAMPLES / "hello", tmp_path / "sub" / "b.pex")
    assert recognise(first).sha == recognise(second).sha
    assert recognise(first).kind == "python"
    assert any("SHA" in line for line in lines)
    names = zipfile.ZipFile(first).namelist()
    assert {"hello.py", "funcatron.yaml"} <= set(names)


def test_a_wrong_spec_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    folder = write(tmp_path / "app", {"funcatron.yaml": "swagger: '2.0'\npaths: {}\n"})
    with pytest.raises(BadSpec):
        build(folder, tmp_path / "a.pex")
    assert not (tmp_path / "a.pex").exists()


def test_no_spec_and_two_specs_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "app", {"app.py": ""})
    with pytest.raises(BadBundle, match="has no spec"):
        build(folder, tmp_path / "a.pex")
    write(folder, {"funcatron.yaml": "", "funcatron.json": ""})
    with pytest.raises(BadBundle, match="more than one spec"):
        build(folder, tmp_path / "a.pex")
    with pytest.raises(BadBundle, match="is no folder"):
        build(tmp_path / "nothing", tmp_path / "a.pex")


def test_a_library_that_cannot_be_had_is_an_error_with_what_pex_said(tmp_path: Path) -> None:
    files = {"requirements.txt": "./no-such-folder\n", "app.py": "def f(): pass\n"}
    folder = write(tmp_path / "app", files)
    (folder / "funcatron.yaml").write_text((EXAMPLES / "hello" / "funcatron.yaml").read_text())
    with pytest.raises(BadBundle, match="pex could not build it"):
        build(folder, tmp_path / "a.pex")


def test_what_tools_leave_behind_is_left_out(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "app",
        {
            "funcatron.yaml": "",
            "app.py": "",
            "package/module.py": "",
            "package/data.json": "{}",
            "__pycache__/app.pyc": "",
            "package/__pycache__/x.pyc": "",
            ".git/config": "",
            ".env": "SECRET=1",
            ".venv/lib/x.py": "",
            "env/pyvenv.cfg": "",
            "env/lib/y.py": "",
            "old.pex": "",
            "requirements.txt": "",
            "app.egg-info/PKG-INFO": "",
        },
    )
    assert stage(folder, tmp_path / "staged") == 4
    found = {path.relative_to(tmp_path / "staged").as_posix() for path in (tmp_path / "staged").rglob("*.*")}
    assert found == {"funcatron.yaml", "app.py", "package/module.py", "package/data.json"}


def test_a_src_folder_is_spread_at_the_root(tmp_path: Path) -> None:
    folder = write(tmp_path / "app", {"funcatron.yaml": "", "src/package/module.py": ""})
    stage(folder, tmp_path / "staged")
    assert (tmp_path / "staged" / "package" / "module.py").exists()


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = write(tmp_path / "app", {"funcatron.yaml": ""})
    (folder / "data.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(BadBundle, match="a link to something outside"):
        stage(folder, tmp_path / "staged")


def test_libraries_are_found_where_people_write_them(tmp_path: Path) -> None:
    assert libraries(tmp_path).lines == ()
    write(tmp_path / "a", {"requirements.txt": "six\n", "setup.cfg": "[options]\ninstall_requires =\n  other\n"})
    assert libraries(tmp_path / "a").files == (tmp_path / "a" / "requirements.txt",)
    write(tmp_path / "b", {"pyproject.toml": '[project]\nname = "x"\ndependencies = ["six>=1"]\n'})
    assert libraries(tmp_path / "b").lines == ("six>=1",)
    write(tmp_path / "c", {"setup.cfg": "[options]\ninstall_requires =\n  six\n  attrs>=1\n"})
    assert libraries(tmp_path / "c").lines == ("six", "attrs>=1")
    write(tmp_path / "d", {"pyproject.toml": '[project]\nname = "x"\ndynamic = ["dependencies"]\n'})
    assert libraries(tmp_path / "d").project
    write(tmp_path / "e", {"pyproject.toml": "[project\n"})
    with pytest.raises(BadBundle, match="cannot be read"):
        libraries(tmp_path / "e")
    write(tmp_path / "f", {"setup.py": ""})
    assert libraries(tmp_path / "f").project
