"""Looking into bundles in a process of its own."""

from __future__ import annotations

import json
import zipfile

import pytest

from funcatron.errors import BadBundle, BadSpec, StoreError
from funcatron.tron import inspection

SPEC = """
swagger: "2.0"
info: {title: Hello, version: "1.0"}
host: Example.com
basePath: /hello
paths:
  /greet:
    get:
      operationId: hello.greet
      responses: {"200": {description: ok}}
"""


@pytest.fixture
def pex(tmp_path):
    """Make the smallest file that is a PEX to those who look at its content."""

    def make(spec):
        file = tmp_path / "0123456789abcdef"
        with zipfile.ZipFile(file, "w") as made:
            made.writestr("PEX-INFO", json.dumps({"code_hash": "x", "distributions": {}, "bootstrap_hash": "x"}))
            made.writestr("__main__.py", "")
            made.writestr("funcatron.yaml", spec)
            made.writestr("hello.py", "def greet(): return 1")
        return file

    return make


async def test_a_bundle_is_recognised_and_its_spec_told(pex):
    found = await inspection.inspect(pex(SPEC))
    assert (found.kind, found.name, found.base_path, found.title) == ("python", "hello", "/hello", "Hello")
    assert [(one["id"], one["method"], one["path"]) for one in found.operations] == [("hello.greet", "GET", "/greet")]
    assert found.document["swagger"] == "2.0"


async def test_a_wrong_spec_is_told_with_every_fault(pex):
    with pytest.raises(BadSpec) as caught:
        await inspection.inspect(pex("swagger: '2.0'\n"))
    assert caught.value.problems


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 a JPEG", b"PK\x03\x04 cut"])
async def test_what_is_no_bundle_is_a_clear_error_without_the_name_of_the_spool_file(tmp_path, data):
    file = tmp_path / "0123456789abcdef"
    file.write_bytes(data)
    with pytest.raises(BadBundle) as caught:
        await inspection.inspect(file)
    assert "0123456789abcdef" not in str(caught.value)


async def test_an_inspection_that_takes_too_long_is_ended(pex, monkeypatch):
    monkeypatch.setattr(inspection, "TIME", 0.01)
    with pytest.raises(BadBundle, match=r"could not be inspected within 0\.01 s"):
        await inspection.inspect(pex(SPEC))


async def test_an_inspection_that_crashes_is_no_fault_of_the_bundle(pex, monkeypatch):
    monkeypatch.setattr(inspection, "__name__", "no.such.module")
    with pytest.raises(StoreError, match="could not be inspected"):
        await inspection.inspect(pex(SPEC))


async def test_secrets_of_the_tron_are_not_in_its_environment(monkeypatch):
    monkeypatch.setenv("FUNCATRON_ADMIN_TOKEN", "secret")
    assert not any(name.startswith("FUNCATRON") for name in inspection._environment())
