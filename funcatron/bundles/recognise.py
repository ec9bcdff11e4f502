"""Says what a file is, by its content: a PEX, an uber JAR, an npm package, or nothing that Funcatron can run."""

from __future__ import annotations

import hashlib
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from funcatron.bundles.archive import LIMITS, MIB, Archive, ArchiveLimits, safe_name
from funcatron.errors import BadBundle

SPEC_NAMES = ("funcatron.yaml", "funcatron.yml", "funcatron.json")
MAX_SPEC = 8 * MIB  # of one file of the spec
MAX_SPEC_FILES = 500

_REFERENCE = re.compile(rb"""\$ref["']?\s*:\s*["']?([^"'#\s,}]+)""")
_IMAGES = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"#!": "a script",
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: its kind (`python`, `jvm`, `node`), identity, bytes, and the files of its spec by relative path."""

    kind: str
    sha: str
    size: int
    spec_files: dict[str, bytes]
    entry: str
    path: Path


def recognise(path: Path, limits: ArchiveLimits = LIMITS) -> Bundle:
    """Look at a file and return what it is. Reads it in pieces. Raises BadBundle with a sentence that says why not."""
    path = Path(path)
    try:
        if path.is_dir():
            raise BadBundle(f"{path.name} is a folder; make a bundle of it: funcatron bundle {path.name}")
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            if not start:
                raise BadBundle(f"{path.name} is empty")
            file.seek(0)
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        kind, spec_files, entry = _look(path, start, limits)
    except BadBundle as err:
        raise BadBundle(f"{path.name} is no Func bundle: {err}" if path.name not in str(err) else str(err)) from err
    except OSError as err:
        raise BadBundle(f"{path.name} cannot be read: {err}") from err
    return Bundle(kind, sha, size, spec_files, entry, path)


def _look(path: Path, start: bytes, limits: ArchiveLimits) -> tuple[str, dict[str, bytes], str]:
    if start.startswith(b"\x1f\x8b"):
        return _tarball(path, limits)
    if start.startswith((b"PK", b"#!")) or _has_zip_end(path):
        with Archive(path, limits) as archive:
            return _zip(archive)
    what = next((name for magic, name in _IMAGES.items() if start.startswith(magic)), "no zip and no gzip file")
    raise BadBundle(f"it is {what}; a bundle is a PEX, an uber JAR or an npm package")


def _has_zip_end(path: Path) -> bool:
    """A zip file may begin with anything, such as a launcher."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 65557))
        return b"PK\x05\x06" in file.read()


def _zip(archive: Archive) -> tuple[str, dict[str, bytes], str]:
    names = archive.names()
    root = ""
    if "PEX-INFO" in archive:
        kind = "python"
    elif "META-INF/MANIFEST.MF" in archive or any(name.endswith(".class") for name in names):
        kind = "jvm"
    elif "package.json" in archive or "package/package.json" in archive:
        kind, root = "node", "" if "package.json" in archive else "package/"
    else:
        raise BadBundle(
            "it is a zip file, but neither a PEX (PEX-INFO) nor a JAR (META-INF/MANIFEST.MF) nor an npm package "
            "(package.json)"
        )
    entry = _entry({name[len(root) :] for name in names if name.startswith(root)}, kind)
    files = with_references(entry, lambda name: _member(archive, root + name))
    return kind, files, entry


def _member(archive: Archive, name: str) -> bytes | None:
    return archive.read(name, MAX_SPEC) if name in archive else None


def _entry(names: Iterable[str], kind: str) -> str:
    """The spec's name; exactly one must be there."""
    found = [name for name in SPEC_NAMES if name in set(names)]
    what = {"python": "PEX", "jvm": "JAR", "node": "npm package"}[kind]
    if not found:
        raise BadBundle(f"it is a {what}, but has no spec at its root: {' or '.join(SPEC_NAMES)}")
    if len(found) > 1:
        raise BadBundle(f"it has more than one spec: {' and '.join(found)}; keep one")
    return found[0]


def with_references(entry: str, read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """The spec and, over and over, the files that its `$ref`s name. What is not there is the spec's fault to report."""
    return _closure(entry, lambda names: {name: found for name in names if (found := read(name)) is not None})


def _closure(entry: str, read: Callable[[set[str]], dict[str, bytes]]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    wanted = {entry}
    while wanted:
        found = read(wanted)
        files.update(found)
        if len(files) > MAX_SPEC_FILES or sum(map(len, files.values())) > 4 * MAX_SPEC:
            raise BadBundle(f"its spec has more than {MAX_SPEC_FILES} files, or more than {4 * MAX_SPEC} bytes")
        wanted = {other for name, content in found.items() for other in _references(name, content)} - set(files)
    return files


def _references(name: str, content: bytes) -> set[str]:
    """The files that `$ref`s in a file of the bundle name; wrong ones among them do no harm."""
    found = set()
    for match in _REFERENCE.finditer(content):
        target = match[1].decode("utf-8", "replace")
        other = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if "://" not in target and safe_name(other):
            found.add(other)
    return found


def _tarball(path: Path, limits: ArchiveLimits) -> tuple[str, dict[str, bytes], str]:
    """An `npm pack` tarball: everything is under one folder, `package`. Read as a stream, once for its names, then once
    for each round of files that the spec refers to."""
    names = {name for name, _ in _members(path, limits, set())}
    if "package.json" not in names:
        raise BadBundle("it is a gzip file, but no npm package: it has no package.json")
    entry = _entry(names, "node")
    return "node", _closure(entry, lambda wanted: dict(_members(path, limits, wanted)) if wanted & names else {}), entry


def _members(path: Path, limits: ArchiveLimits, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the `wanted` files, or the names of all when none is wanted."""
    total = 0
    try:
        with tarfile.open(path, "r|gz") as tar:
            for count, member in enumerate(tar, 1):
                total += member.size
                _check_member(member, count, total, path.stat().st_size, limits)
                tar.members = []  # type: ignore[attr-defined]  # else it remembers them all
                name = member.name.removeprefix("./").partition("/")[2]
                if not wanted and member.isfile():
                    yield name, b""
                elif name in wanted and member.isfile():
                    yield name, _content(tar, member, name)
    except (tarfile.TarError, EOFError, zlib.error, UnicodeDecodeError) as err:
        raise BadBundle(f"the gzip file is damaged, cut off, or no tarball: {err}") from err


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    if member.size > MAX_SPEC:
        raise BadBundle(f"its {name} has {member.size} bytes; at most {MAX_SPEC} are allowed")
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _check_member(member: tarfile.TarInfo, count: int, total: int, size: int, limits: ArchiveLimits) -> None:
    if not safe_name(member.name):
        raise BadBundle(f"it has an entry that would be written outside of its folder: {member.name!r}")
    if not (member.isfile() or member.isdir()):
        raise BadBundle(f"its entry {member.name!r} is {'a link' if member.islnk() or member.issym() else 'no file'}")
    if count > limits.entries:
        raise BadBundle(f"it has more than {limits.entries} entries")
    if total > limits.total or (total > limits.free and total > limits.ratio * size):
        raise BadBundle(f"it unpacks to more than {min(limits.total, limits.ratio * size)} bytes")
