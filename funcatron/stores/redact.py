"""Takes secrets out of what is kept for people to read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "**********"

SECRET = re.compile(
    r"pass(?:word|wd|phrase|code)?(?![a-z])|pwd|secret|token|credential|auth(?!or(?!i))|cookie|session|signature|salt"
    r"|(?:api|access|private|signing|encryption|master|account|shared|ssh|aes|rsa|hmac|service|license)[^a-z]?key"
    r"|keys?$|(?:^|[^a-z])(?:pin|sas|dsn|jwt|otp)(?:$|[^a-z])|connection[^a-z]?string",
    re.IGNORECASE,
)
"""Names whose values nobody should read in a history. Too many are masked rather than too few."""

USER_INFO = re.compile(r"(?<=://)([^\s/@:]*):[^\s@/]*@")
"""The password of a URL (RFC 3986, section 3.2.1)."""

PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
"""A private key (RFC 7468)."""


def redacted(value: Any) -> Any:
    """Return a JSON value with its secrets masked: by the names of its members, in URLs, and private keys."""
    if isinstance(value, str):
        return PRIVATE.sub(MASK, USER_INFO.sub(rf"\1:{MASK}@", value))
    if isinstance(value, Mapping):
        return {name: MASK if _hides(name, inner) else redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return value


def _hides(name: str, value: Any) -> bool:
    """Whether a member is a secret. Nothing and a switch tell none."""
    return value is not None and value != "" and not isinstance(value, bool) and SECRET.search(_words(name)) is not None


def _words(name: str) -> str:
    """Part the words of a name: `apiKey` is `api Key`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
