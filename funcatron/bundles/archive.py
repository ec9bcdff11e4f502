"""Zip files from strangers: checked before anything of them is used, read in pieces, memory flat.

The format is in PKWARE's APPNOTE.TXT; section numbers are those of version 6.3.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO

from funcatron.errors import BadBundle

MIB = 1024 * 1024
PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How far an archive may go: number of entries, unpacked bytes, and how much one byte may unpack to."""

    entries: int = 100_000
    directory: int = 32 * MIB  # of all names and attributes
    total: int = 2048 * MIB
    ratio: int = 200
    free: int = 16 * MIB  # unpacked bytes below which the ratio does not matter


LIMITS = ArchiveLimits()


class Archive:
    """A zip file whose names, sizes and kinds of entries are known to be harmless. Raises BadBundle if they are not."""

    def __init__(self, source: Path | IO[bytes], limits: ArchiveLimits = LIMITS) -> None:
        self._file = open(source, "rb") if isinstance(source, Path) else source  # noqa: SIM115 - closed by close()
        try:
            size = self._file.seek(0, os.SEEK_END)
            _check_directory(self._file, size, limits)
            self._zip = zipfile.ZipFile(self._file)
            self.files = _check_entries(self._zip.infolist(), size, limits)
        except (zipfile.BadZipFile, struct.error, UnicodeDecodeError, NotImplementedError, EOFError) as err:
            self._file.close()
            raise BadBundle(f"the zip file is damaged or cut off: {err}") from err
        except BaseException:
            self._file.close()
            raise
        self._by_name = {entry.filename: entry for entry in self.files}

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def names(self) -> list[str]:
        """The names of all files, without folders."""
        return list(self._by_name)

    def read(self, name: str, most: int) -> bytes:
        """Return a file's content, of at most `most` bytes. Raises BadBundle."""
        entry = self._by_name.get(name)
        if entry is None:
            raise BadBundle(f"there is no {name} in it")
        if entry.file_size > most:
            raise BadBundle(f"its {name} has {entry.file_size} bytes; at most {most} are allowed")
        try:
            with self._zip.open(entry) as file:
                return file.read()
        except _DAMAGE as err:
            raise BadBundle(f"its {name} is damaged: {err}") from err

    def extract(self, entry: zipfile.ZipInfo, target: Path, *, executable: bool = False) -> None:
        """Write a file to `target`, making the folders that it needs. Raises BadBundle."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._zip.open(entry) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out, PIECE)
            if executable:
                target.chmod(0o755)
        except _DAMAGE as err:
            raise BadBundle(f"its {entry.filename} is damaged: {err}") from err
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as err:
            raise BadBundle(f"its {entry.filename} is both a file and a folder") from err

    def copy(self, entry: zipfile.ZipInfo, out: IO[bytes]) -> None:
        """Write a file's content to an open file. Raises BadBundle."""
        try:
            with self._zip.open(entry) as source:
                shutil.copyfileobj(source, out, PIECE)
        except _DAMAGE as err:
            raise BadBundle(f"its {entry.filename} is damaged: {err}") from err


_DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zipfile.zlib.error)  # type: ignore[attr-defined]


def safe_name(name: str) -> bool:
    """Whether a name stays inside of the folder that it is unpacked to, on any system."""
    if not name or "\0" in name or "\\" in name or name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return False
    return ".." not in PurePosixPath(name).parts and len(name.encode("utf-8", "surrogatepass")) <= 4096


def _check_entries(entries: list[zipfile.ZipInfo], size: int, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
    total = 0
    files = []
    for entry in entries:
        if not safe_name(entry.filename):
            raise BadBundle(f"it has an entry that would be written outside of its folder: {entry.filename!r}")
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 4.4.15: the upper half is the Unix mode
        if entry.create_system == 3 and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a symbolic link" if kind == stat.S_IFLNK else "neither a file nor a folder"
            raise BadBundle(f"its entry {entry.filename!r} is {what}")
        if entry.flag_bits & 0x1:  # 4.4.4
            raise BadBundle(f"its entry {entry.filename!r} is encrypted")
        total += entry.file_size
        if entry.file_size > limits.free and entry.file_size > limits.ratio * max(1, entry.compress_size):
            raise BadBundle(f"its entry {entry.filename!r} unpacks to more than {limits.ratio} times its size")
        if not entry.is_dir():
            files.append(entry)
    if total > limits.total:
        raise BadBundle(f"it unpacks to {total} bytes; at most {limits.total} are allowed")
    if total > limits.free and total > limits.ratio * size:
        raise BadBundle(f"it unpacks to more than {limits.ratio} times its size")
    return files


def _check_directory(file: IO[bytes], size: int, limits: ArchiveLimits) -> None:
    """Look at the end record (4.3.16) before zipfile reads the whole directory into memory."""
    window = min(size, 65535 + 22)
    file.seek(size - window)
    tail = file.read(window)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise BadBundle("the zip file is damaged or cut off: its end is missing")
    entries, length = struct.unpack_from("<HI", tail, at + 10)
    if entries == 0xFFFF or length == 0xFFFFFFFF:  # 4.4.1.4: the true numbers are in the zip64 record
        locator = tail.rfind(b"PK\x06\x07", 0, at)
        if locator >= 0:
            file.seek(struct.unpack_from("<Q", tail, locator + 8)[0])
            record = file.read(56)
            if len(record) == 56 and record.startswith(b"PK\x06\x06"):
                entries, length = struct.unpack_from("<QQ", record, 32)
    if entries > limits.entries or length > limits.directory:
        raise BadBundle(f"it has {entries} entries, or too long names; at most {limits.entries} entries are allowed")
