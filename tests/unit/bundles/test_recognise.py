"""A bundle is known by its content, and what is no bundle ends in one clear sentence, with flat memory."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from funcatron.bundles import recognise
from funcatron.bundles.archive import ArchiveLimits
from funcatron.errors import BadBundle
from tests.hosting import SPEC, write_pex


def zipped(path: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def refused(path: Path, limits: ArchiveLimits | None = None) -> str:
    with pytest.raises(BadBundle) as caught:
        recognise(path, limits or ArchiveLimits())
    assert path.name in str(caught.value)
    return str(caught.value)


def test_a_pex_is_recognised_whatever_its_name(tmp_path: Path) -> None:
    path = write_pex(tmp_path / "something.jar", {"app.py": "x = 1"})
    bundle = recognise(path)
    assert bundle.kind == "python"
    assert bundle.sha == hashlib.sha256(path.read_bytes()).hexdigest()
    assert bundle.size == path.stat().st_size
    assert bundle.entry == "funcatron.yaml"
    assert bundle.spec_files == {"funcatron.yaml": SPEC.encode()}


def test_a_pex_may_begin_with_a_shebang(tmp_path: Path) -> None:
    plain = write_pex(tmp_path / "plain.pex", {})
    path = tmp_path / "with-shebang.pex"
    path.write_bytes(b"#!/usr/bin/env python3\n" + plain.read_bytes())
    assert recognise(path).kind == "python"


def test_a_jar_is_recognised(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a", {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n", "funcatron.json": "{}"})
    assert recognise(path).kind == "jvm"
    assert recognise(zipped(tmp_path / "b", {"a/B.class": b"\xca\xfe", "funcatron.yml": "x: 1"})).kind == "jvm"


def test_an_npm_package_is_recognised_as_tarball_and_as_zip(tmp_path: Path) -> None:
    files = {"package/package.json": b"{}", "package/funcatron.yaml": SPEC.encode(), "package/index.js": b""}
    bundle = recognise(tarball(tmp_path / "a.tgz", files))
    assert (bundle.kind, bundle.entry, bundle.spec_files["funcatron.yaml"]) == ("node", "funcatron.yaml", SPEC.encode())
    assert recognise(zipped(tmp_path / "b.zip", {"package.json": "{}", "funcatron.yaml": SPEC})).kind == "node"
    assert recognise(zipped(tmp_path / "c.zip", dict(files))).spec_files == {"funcatron.yaml": SPEC.encode()}
    files["package/funcatron.yaml"] = b"$ref: a/b.yaml#/c"
    files["package/a/b.yaml"] = b"$ref: ../missing.yaml"
    assert set(recognise(tarball(tmp_path / "d.tgz", files)).spec_files) == {"funcatron.yaml", "a/b.yaml"}


def test_files_that_the_spec_refers_to_come_along(tmp_path: Path) -> None:
    files = {
        "funcatron.yaml": "paths:\n  /a:\n    $ref: 'schemas/a.yaml#/x'\n",
        "schemas/a.yaml": '{"$ref": "../common.json#/y", "other": {"$ref": "#/here"}}',
        "common.json": '{"$ref": "http://example.com/far.json", "more": {"$ref": "missing.yaml"}}',
        "data.json": "{}",
    }
    assert set(recognise(write_pex(tmp_path / "a.pex", files)).spec_files) == {
        "funcatron.yaml",
        "schemas/a.yaml",
        "common.json",
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, "a JPEG image"),
        (b"just text", "no zip and no gzip file"),
        (b"PK\x03\x04" + b"\0" * 50, "damaged or cut off"),
        (b"\x1f\x8b\x08\x00broken", "damaged, cut off, or no tarball"),
        (b"#!/bin/sh\necho\n", "damaged or cut off"),
    ],
)
def test_what_is_no_bundle_is_refused_with_what_it_is(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    assert sentence in refused(path)


def test_a_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    assert "funcatron bundle app" in refused(tmp_path / "app")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "nothing")


def test_a_truncated_pex_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = write_pex(tmp_path / "whole.pex", {"app.py": "x = 1\n" * 500}).read_bytes()
    for share in range(1, 20):
        path = tmp_path / "cut.pex"
        path.write_bytes(whole[: len(whole) * share // 20])
        refused(path)


def test_flipped_bytes_end_in_a_bundle_or_in_a_clear_error(tmp_path: Path) -> None:
    whole = bytearray(write_pex(tmp_path / "whole.pex", {"app.py": "x = 1\n" * 50}).read_bytes())
    path = tmp_path / "flipped.pex"
    for at in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[at] ^= 0xFF
        path.write_bytes(changed)
        with suppress(BadBundle):
            recognise(path)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    assert "neither a PEX" in refused(zipped(tmp_path / "a.zip", {"readme.txt": "hello"}))


def test_bundles_without_a_spec_are_refused(tmp_path: Path) -> None:
    assert "has no spec" in refused(zipped(tmp_path / "a.jar", {"META-INF/MANIFEST.MF": "x", "A.class": b""}))
    assert "has no spec" in refused(zipped(tmp_path / "a.pex", {"PEX-INFO": "{}", "sub/funcatron.yaml": SPEC}))
    assert "has no spec" in refused(tarball(tmp_path / "a.tgz", {"package/package.json": b"{}"}))
    assert "no package.json" in refused(tarball(tmp_path / "b.tgz", {"package/funcatron.yaml": b""}))


def test_two_specs_are_refused(tmp_path: Path) -> None:
    sentence = refused(write_pex(tmp_path / "a.pex", {"funcatron.json": "{}"}))
    assert "funcatron.yaml and funcatron.json" in sentence


def test_a_spec_that_is_too_large_is_refused(tmp_path: Path) -> None:
    text = json.dumps([str(number) for number in range(1_200_000)])
    assert "at most" in refused(write_pex(tmp_path / "a.pex", {"funcatron.yaml": text}))
    files = {"package/package.json": b"{}", "package/funcatron.yaml": text.encode()}
    assert "at most" in refused(tarball(tmp_path / "a.tgz", files))
    files["package/funcatron.yaml"] = b"$ref: big.json"
    files["package/big.json"] = text.encode()
    assert "big.json" in refused(tarball(tmp_path / "b.tgz", files))


@pytest.mark.parametrize("name", ["../evil.py", "/etc/passwd", "a/../../evil", "C:/x", "a\\..\\b"])
def test_entries_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    path = write_pex(tmp_path / "a.pex", {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "x")
    assert "outside" in refused(path)
    if "\\" not in name:
        files = {"package/package.json": b"{}", "package/funcatron.yaml": b"", name: b"x"}
        assert "outside" in refused(tarball(tmp_path / "a.tgz", files))


def test_links_are_refused(tmp_path: Path) -> None:
    path = write_pex(tmp_path / "a.pex", {})
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "symbolic link" in refused(path)
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        member = tarfile.TarInfo("package/link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    assert "a link" in refused(tmp_path / "a.tgz")


def bomb_zip(path: Path) -> Path:
    write_pex(path, {})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as out:
        for _ in range(160):
            out.write(b"\0" * 1024 * 1024)
    return path


def bomb_tar(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for number in range(160):
            member = tarfile.TarInfo(f"package/zeros{number}.json")
            member.size = 1024 * 1024
            tar.addfile(member, io.BytesIO(b"\0" * member.size))
    return path


@pytest.mark.parametrize("make", [bomb_zip, bomb_tar])
def test_bombs_are_refused_with_flat_memory(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "bomb")
    tracemalloc.start()
    try:
        assert "unpacks to more than" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 40 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_too_many_entries_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write_pex(tmp_path / "a.pex", {f"file{number}": "" for number in range(200)})
    assert "entries" in refused(path, ArchiveLimits(entries=100))
    lie = bytearray(path.read_bytes())
    at = lie.rfind(b"PK\x05\x06")
    struct.pack_into("<I", lie, at + 12, 0x7FFFFFFF)  # a directory of 2 GB, it says
    path.write_bytes(lie)
    assert "entries" in refused(path)


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = write_pex(tmp_path / "a.pex", {"secret": "x"})
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            data[at + offset] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path)
