"""Which interpreter a bundle gets, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging import tags

from funcatron.errors import BadBundle
from funcatron.hosts.python.interpreters import Interpreter, allowed, choose, installed, own, select

P39, P310, P311, P312 = (Interpreter(Path(f"/python3.{n}"), (3, n, 4)) for n in (9, 10, 11, 12))
PLATFORM = next(iter(tags.platform_tags()))


def wheel(name: str, python: str, abi: str = "none", platform: str = "any") -> str:
    return f"{name}-1.0-{python}-{abi}-{platform}.whl"


def test_without_constraints_the_first_is_taken() -> None:
    assert choose([], [], [P311, P312]) == (P311, ())


@pytest.mark.parametrize(
    ("constraint", "fits"),
    [
        (">=3.11", True),
        ("CPython>=3.10,<3.12", True),
        ("CPython==3.11.*", True),
        ("==3.12.*", False),
        ("CPython<3.11", False),
        ("PyPy>=3.9", False),
        ("CPython", True),
    ],
)
def test_constraints_are_read_as_pex_writes_them(constraint: str, fits: bool) -> None:
    assert allowed([constraint], P311) is fits


def test_one_of_several_constraints_is_enough() -> None:
    assert allowed(["==3.9.*", "==3.11.*"], P311)


def test_a_constraint_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(BadBundle, match="cannot be read"):
        allowed(["CPython>=3..1"], P311)


def test_the_first_that_fits_is_taken() -> None:
    assert choose(["<3.11"], [], [P311, P312, P310, P39])[0] == P310


def test_a_wheel_for_another_python_leads_to_that_python() -> None:
    assert choose([], [wheel("a", "cp312", "cp312", PLATFORM)], [P311, P312])[0] == P312


def test_of_each_project_the_best_fitting_wheel_is_taken() -> None:
    pure, native = wheel("a", "py3"), wheel("a", "cp311", "cp311", PLATFORM)
    foreign, other = wheel("a", "cp311", "cp311", "win_amd64"), wheel("b", "py2.py3")
    chosen, missing = select([pure, foreign, native, other], P311)
    assert (set(chosen), missing) == ({native, other}, set())


def test_a_project_without_a_fitting_wheel_is_named() -> None:
    assert select([wheel("a", "cp311", "cp311", "win_amd64"), wheel("b", "py3")], P311)[1] == {"a"}


def test_no_python_is_an_error_that_says_what_is_needed_and_what_there_is() -> None:
    with pytest.raises(BadBundle, match=r"needs Python ==3\.7\.\*; here on .* CPython 3\.11\.4: not the wanted"):
        choose(["==3.7.*"], [], [P311])
    with pytest.raises(BadBundle) as caught:
        choose([], [wheel("numpy", "cp311", "cp311", "macosx_11_0_arm64"), wheel("b", "py3")], [P311])
    assert "the platform of numpy-1.0-cp311-cp311-macosx_11_0_arm64.whl" in str(caught.value)
    assert "CPython 3.11.4: no fitting wheel of numpy" in str(caught.value)


def test_what_is_no_wheel_is_an_error() -> None:
    with pytest.raises(BadBundle, match="not a wheel"):
        select(["numpy.egg"], P311)


def test_the_runners_own_interpreter_comes_first_and_is_in_no_environment() -> None:
    first, *others = installed()
    assert first == own()
    assert not (first.path.parent.parent / "pyvenv.cfg").exists()
    assert first not in others
    versions = [other.version for other in others]
    assert versions == sorted(versions, reverse=True)
