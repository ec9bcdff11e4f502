"""Bundles on this machine: fetched from the Tron once per SHA, shared by the machine's Runners, evicted when old.

Layout: `FOLDER/SHA/bundle` (the file), whatever a host driver unpacks beside it, and `FOLDER/locks/SHA.fetch|used`.
A `used` lock is held, shared, by each Runner that has the Func awake; what is held is not evicted.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import http.client
import logging
import os
import random
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from funcatron.errors import BadBundle, NotFound, StoreError
from funcatron.settings import Settings

log = logging.getLogger("funcatron.runner.cache")

CHUNK = 256 * 1024
TIMEOUT = 30.0  # of one step of a fetch, s
PATIENCE = 30.0  # a fetch is tried again for so long, s
KEEP = 8  # unused bundles that stay for a quick way back
HEX = frozenset("0123456789abcdef")


class Cache:
    """The bundles of one machine. Threads and other Runners may use the same folder at the same time."""

    def __init__(self, folder: Path, tron: str, token: str | None = None, patience: float = PATIENCE) -> None:
        self.folder, self.tron, self.token, self.patience = folder, tron.rstrip("/"), token, patience
        self._held: dict[str, int] = {}  # SHA: descriptor of its `used` lock
        self._locks = folder / "locks"

    def prepare(self) -> None:
        """Make the folder. It must be passable for the users that hosts run as; its files are not theirs to write."""
        self._locks.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._locks.chmod(0o700)

    def home(self, sha: str) -> Path:
        """Return the folder of one SHA: its bundle, and room for what is unpacked from it."""
        if len(sha) != 64 or not HEX.issuperset(sha):
            raise BadBundle(f"{sha[:80]!r} is no SHA-256")
        return self.folder / sha

    async def fetch(self, sha: str) -> Path:
        """Return the bundle's file, fetched if it is not there yet, and hold it.

        Raises NotFound (the Tron has no such bundle), StoreError (the Tron is away for long, or refuses).
        """
        self.hold(sha)
        until = time.monotonic() + self.patience
        pause = 0.2
        while True:
            try:
                return await asyncio.to_thread(self._fetch, sha)
            except (OSError, http.client.HTTPException) as err:
                if time.monotonic() + pause > until:
                    raise StoreError(f"cannot fetch the bundle from {self.tron}: {err}") from err
                log.warning("fetching a bundle failed, trying again: %s", err, extra={"sha": sha})
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(5.0, pause * 2)

    def hold(self, sha: str) -> None:
        """Keep the SHA from being evicted by any Runner. Idempotent."""
        self.home(sha)
        if sha not in self._held:
            handle = os.open(self._locks / f"{sha}.used", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_SH)
            os.utime(handle)
            self._held[sha] = handle

    def release(self, sha: str) -> None:
        """The SHA may be evicted now, as far as this Runner is concerned. Idempotent."""
        handle = self._held.pop(sha, None)
        if handle is not None:
            os.utime(handle)
            os.close(handle)

    async def evict(self, wanted: Collection[str], keep: int = KEEP) -> list[str]:
        """Remove what is neither wanted nor held nor among the `keep` last used; returns the SHAs that went."""
        return await asyncio.to_thread(self._evict, frozenset(wanted), keep)

    def close(self) -> None:
        """Release everything."""
        for sha in list(self._held):
            self.release(sha)

    # ------------------------------------------------------------------ in a thread

    def _fetch(self, sha: str) -> Path:
        home = self.home(sha)
        target = home / "bundle"
        with self._locked(sha):
            if not target.is_file():
                home.mkdir(exist_ok=True)
                home.chmod(0o755)
                self._download(sha, target)
        return target

    def _download(self, sha: str, target: Path) -> None:
        request = urllib.request.Request(f"{self.tron}/api/v1/bundle/{sha}")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(prefix=".bundle-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as out, urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                while chunk := answer.read(CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() != sha:
                raise ConnectionError("the bytes that came do not have that SHA-256")
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except urllib.error.HTTPError as err:
            if err.code == 404:
                raise NotFound(f"{self.tron} has no bundle {sha}") from err
            if err.code in (401, 403):
                raise StoreError(
                    f"{self.tron} refuses the bundle ({err.code}): is FUNCATRON_ADMIN_TOKEN right?"
                ) from err
            raise
        finally:
            Path(name).unlink(missing_ok=True)

    def _evict(self, wanted: frozenset[str], keep: int) -> list[str]:
        found = [home for home in self.folder.iterdir() if len(home.name) == 64 and HEX.issuperset(home.name)]
        unwanted = sorted((home for home in found if home.name not in wanted), key=self._last_used, reverse=True)
        return [home.name for home in unwanted[keep:] if self._remove(home)]

    def _remove(self, home: Path) -> bool:
        handle = os.open(self._locks / f"{home.name}.used", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with self._locked(home.name):
                shutil.rmtree(home)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        log.info("evicted an old bundle", extra={"sha": home.name})
        return True

    def _last_used(self, home: Path) -> float:
        lock = self._locks / f"{home.name}.used"
        return lock.stat().st_mtime if lock.exists() else home.stat().st_mtime

    @contextmanager
    def _locked(self, sha: str) -> Iterator[None]:
        handle = os.open(self._locks / f"{sha}.fetch", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def place(settings: Settings) -> Path:
    """Return the folder for unpacked bundles: the setting's, else `DATA/cache`, unless hosts could not get there.

    Where the Runner is root its hosts run as other users, and e.g. a data folder in root's home is closed to them;
    then it is a folder in /var/cache, and the log says so.
    """
    wanted = (settings.cache or settings.data / "cache").absolute()
    if os.geteuid() != 0 or settings.host_uid == 0 or passable(wanted):
        return wanted
    mark = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
    other = Path("/var/cache/funcatron") / mark
    log.warning("%s cannot be reached by the users that hosts run as: bundles are unpacked in %s", wanted, other)
    return other


def passable(folder: Path) -> bool:
    """Say whether any user may pass through the existing part of a path."""
    return all(not parent.exists() or parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))
