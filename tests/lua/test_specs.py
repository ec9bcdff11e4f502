"""The Lua specs, run inside a real nginx; each of their tests counts as one here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lua_support.nginx import Nginx
from lua_support.waiting import free_port

SPECS = Path(__file__).parent / "spec"
TESTS = [
    (spec.name, name)
    for spec in sorted(SPECS.glob("*_spec.lua"))
    for name in re.findall(r'^it\("(.+)", function', spec.read_text(), re.MULTILINE)
]
SERVER = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        content_by_lua_block {{ ngx.print(dofile("{specs}/" .. ngx.var.arg_spec)) }}
    }}
}}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], str | None]]:
    """What each test of each spec said: nothing, or its error."""
    port = free_port()
    folder = tmp_path_factory.mktemp("specs")
    nginx = Nginx(folder, {"RABBIT_PORT": str(free_port())})
    nginx.variables["EXTRA"] = SERVER.format(specs=SPECS, port=port)
    nginx.variables["LUA_EXTRA"] = f"{SPECS}/?.lua"
    nginx.start(ready=False)
    outcomes: dict[tuple[str, str], str | None] = {}
    for spec in {spec for spec, _ in TESTS}:
        answer = httpx.get(f"http://127.0.0.1:{port}/", params={"spec": spec}, timeout=60)
        assert answer.status_code == 200, nginx.errors()
        outcomes |= {(spec, test["name"]): test.get("error") for test in answer.json()}
    yield outcomes
    nginx.stop()


@pytest.mark.parametrize(("spec", "name"), TESTS, ids=[f"{spec}: {name}" for spec, name in TESTS])
def test_spec(results: dict[tuple[str, str], str | None], spec: str, name: str) -> None:
    assert (spec, name) in results
    assert results[spec, name] is None


def test_every_test_of_the_specs_is_collected(results: dict[tuple[str, str], str | None]) -> None:
    assert sorted(results) == sorted(TESTS)
