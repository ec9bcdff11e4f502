"""What the engine raises while it serves: the request does not fit the spec."""

from __future__ import annotations

from typing import NamedTuple

from funcatron.errors import FuncatronError


class Fault(NamedTuple):
    """One fault of a request or an answer: a place, a sentence, and how the sentence reads where no place is shown."""

    where: str
    what: str
    detail: str

    @property
    def entry(self) -> dict[str, str]:
        """The fault as it stands in the `errors` of a problem body."""
        return {"where": self.where, "what": self.what}


class BadRequest(FuncatronError):
    """The request breaks the spec: `status` 400 or 415, and every fault found in `errors`.

    `detail` is the first fault in the words that Connexion's users know.
    """

    def __init__(self, status: int, title: str, detail: str, errors: list[dict[str, str]]) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors

    @classmethod
    def of(cls, faults: list[Fault], *, media_type_only: bool = False) -> BadRequest:
        """Make the error that reports all `faults`; 415 when nothing but the media type is wrong."""
        status, title = (415, "Unsupported Media Type") if media_type_only else (400, "Bad Request")
        return cls(status, title, faults[0].detail, [fault.entry for fault in faults])


class NoSuchPath(FuncatronError):
    """No operation has this path (404)."""


class Redirect(NoSuchPath):
    """The path exists with, or without, a trailing slash: answer 307 with `location` (+ `?` and the raw query)."""

    def __init__(self, location: str) -> None:
        super().__init__(f"see {location}")
        self.location = location


class MethodNotAllowed(FuncatronError):
    """The path exists but not with this method (405); `allow` has the methods that do."""

    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__(f"allowed: {', '.join(allow)}")
        self.allow = allow
