"""Large bodies in a folder that Frontends and Runners share, so that they need not go through the broker.

`requests/` is where nginx spools bodies: a file is there as long as its request waits. `answers/` is what Runners
write; the Frontend removes a file's name when it opens it. What nobody came for is swept away. The folder's file `id`
tells whether a Frontend and a Runner mean the same folder.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from funcatron.errors import BadMessage
from funcatron.message.envelope import message_id

log = logging.getLogger("funcatron.runner.bodies")

ABANDONED = 3600.0  # s; a file so old is nobody's any more
_REQUEST = re.compile(r"requests/[0-9]+")


class Bodies:
    """The shared folder as a Runner uses it. Reads and writes are of files in the page cache: they do not wait."""

    def __init__(self, folder: Path | None, inline: int) -> None:
        """`inline` is up to how many bytes an answer travels in its message."""
        self.folder, self.inline, self.id = folder, inline, ""
        if folder is not None:
            try:
                self.id = (folder / "id").read_text().strip()
            except OSError as err:
                log.warning("large bodies travel inside messages: the shared folder cannot be read: %s", err)

    def read(self, name: str, folder_id: str | None) -> bytes:
        """Return the body of a request. Raises FileNotFoundError when nobody waits for its answer any more, BadMessage
        when it is in no folder of ours."""
        if self.folder is None or not self.id or folder_id != self.id:
            raise BadMessage("Its body lies in a folder that this Runner does not share with the Frontend.")
        if not _REQUEST.fullmatch(name):
            raise BadMessage("body-file is not the name of a spooled body.")
        return (self.folder / name).read_bytes()

    def keep(self, body: bytes) -> str | None:
        """Write the body of an answer; returns its name, or None if it cannot be written (a disk that is full)."""
        assert self.folder is not None
        name = message_id()
        path = self.folder / "answers" / name
        try:
            path.write_bytes(body)
            owner = path.parent.stat().st_uid
            if owner != os.geteuid():
                os.chown(path, owner, -1)
        except OSError as err:
            log.error("an answer's body cannot be written: %s", err)
            path.unlink(missing_ok=True)
            return None
        return name

    def sweep(self, now: float) -> int:
        """Remove what was left behind by requests that were cut off; returns how many. `now` is wall clock, s."""
        if not self.id or self.folder is None:
            return 0
        swept = 0
        for place in ("requests", "answers"):
            for file in (self.folder / place).iterdir():
                try:
                    if now - file.stat().st_mtime > ABANDONED:
                        file.unlink()
                        swept += 1
                except FileNotFoundError:
                    continue
        return swept
