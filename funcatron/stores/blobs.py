"""The Blob store: bytes by their SHA-256, anywhere that fsspec can write. A local folder by default.

What comes in is spooled to a local file while its SHA-256 is computed, looked at there, and only then kept under its
name by one atomic rename (local folders) or one upload. Nothing is ever whole in memory. Calls run in threads.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import fsspec
from fsspec.core import url_to_fs

from funcatron.errors import NotFound, SettingsError, StoreError

CHUNK = 1024 * 1024
"""Bytes that are read or written in one go."""

ABANDONED = 24 * 3600.0
"""Age at which a spool file is one that a killed process left behind, s."""

T = TypeVar("T")


class TooLarge(StoreError):
    """What came in is over the limit."""


class Full(StoreError):
    """There is no room left."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """Bytes that arrived whole and are not kept yet: give them to `keep` or to `discard`."""

    path: Path
    sha: str
    size: int


class Blobs:
    """A store of immutable bytes. `url` is what fsspec understands: `file:///folder`, `s3://bucket/x`, `webhdfs://…`."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, root = url_to_fs(url)
        except ImportError as err:
            raise SettingsError(f"FUNCATRON_BLOBS: {err}") from err
        except ValueError as err:
            raise SettingsError(f"FUNCATRON_BLOBS: no store for {url.split('://')[0]}: {err}") from err
        self._root = root.rstrip("/")
        self._local = isinstance(self._fs, fsspec.get_filesystem_class("file"))
        # a spool on the same file system can be renamed into place
        self._spool = Path(self._root) / "incoming" if self._local else Path(tempfile.gettempdir()) / "funcatron-spool"

    async def open(self) -> None:
        """Make the folders and clear away what a killed process left. Raises StoreError."""
        await _thread(self._prepare)

    async def receive(self, chunks: AsyncIterator[bytes], limit: int) -> Spooled:
        """Spool what comes in. Raises TooLarge beyond `limit` bytes, Full, or StoreError, and leaves nothing behind."""
        path = self._spool / uuid.uuid4().hex
        digest = hashlib.sha256()
        size = 0

        def write(file: BinaryIO, data: bytes) -> None:
            digest.update(data)
            file.write(data)

        try:
            with await _thread(lambda: open(path, "xb")) as file:
                pending = bytearray()
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise TooLarge(f"larger than the limit of {limit:,} bytes")
                    pending += chunk
                    if len(pending) >= CHUNK:
                        await _thread(partial(write, file, bytes(pending)))
                        pending.clear()
                await _thread(partial(write, file, bytes(pending)))
                await _thread(file.flush)
                await _thread(partial(os.fsync, file.fileno()))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Spooled(path, digest.hexdigest(), size)

    async def keep(self, spooled: Spooled) -> None:
        """Keep spooled bytes under their SHA; bytes that are there already stay as they are."""
        await _thread(lambda: self._keep(spooled))

    async def discard(self, spooled: Spooled) -> None:
        """Forget spooled bytes. Idempotent."""
        await _thread(lambda: spooled.path.unlink(missing_ok=True))

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> Spooled:
        """Receive and keep in one go; returns SHA and size. Raises as `receive`."""
        spooled = await self.receive(chunks, limit)
        await self.keep(spooled)
        return spooled

    async def exists(self, sha: str) -> bool:
        """Tell whether there are bytes with this SHA."""
        return await _thread(lambda: bool(self._fs.exists(self._key(sha))))

    async def size(self, sha: str) -> int:
        """Return the size in bytes. Raises NotFound."""
        return await _thread(lambda: int(self._fs.size(self._key(sha))))

    async def stream(self, sha: str) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces. Raises NotFound before the first."""
        file = await _thread(lambda: self._fs.open(self._key(sha), "rb"))
        try:
            while data := await _thread(lambda: file.read(CHUNK)):
                yield data
        finally:
            await asyncio.to_thread(file.close)

    async def delete(self, sha: str) -> None:
        """Remove the bytes. Idempotent."""
        await _thread(lambda: self._fs.exists(self._key(sha)) and self._fs.rm(self._key(sha)))

    def _prepare(self) -> None:
        self._fs.makedirs(f"{self._root}/bundles", exist_ok=True)
        self._spool.mkdir(parents=True, exist_ok=True)
        for left in self._spool.iterdir():
            if left.stat().st_mtime < time.time() - ABANDONED:
                left.unlink(missing_ok=True)

    def _keep(self, spooled: Spooled) -> None:
        key = self._key(spooled.sha)
        if self._local:
            os.replace(spooled.path, key)
            return
        # elsewhere a rename may be a copy: the name is given only when all bytes are there
        unfinished = f"{self._root}/bundles/.{spooled.path.name}"
        if not self._fs.exists(key):
            self._fs.put_file(str(spooled.path), unfinished)
            self._fs.mv(unfinished, key)
        spooled.path.unlink(missing_ok=True)

    def _key(self, sha: str) -> str:
        if len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
            raise NotFound(f"{sha[:80]!r} is not a SHA-256")
        return f"{self._root}/bundles/{sha}"


async def _thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread; the errors of the file systems become ours here."""
    try:
        return await asyncio.to_thread(work)
    except FileNotFoundError as err:
        raise NotFound("there are no such bytes in the Blob store") from err
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Full("the Blob store is full: free some room on its disk") from err
        raise StoreError(f"the Blob store failed: {err}") from err
