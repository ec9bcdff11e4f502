"""JSON from outside: any depth, any number, any bytes, and only what is JSON."""

from __future__ import annotations

import json
from typing import Any

import orjson

UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
_DIGITS = bytes.maketrans(b"0123456789", b"0000000000")
_LONG = b"0" * 19  # 64 bits may not hold a number of so many digits: orjson would make a float of it in silence


def parse_text(text: str) -> Any:
    """Parse JSON text; raises ValueError. NaN and infinities are not JSON; the last of duplicate keys counts."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON value")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as err:
        raise ValueError("is nested too deeply") from err


def parse_bytes(body: bytes, charset: str | None = None) -> Any:
    """Parse JSON bytes in `charset` (UTF-8 by default); raises ValueError with a whole sentence."""
    if charset is not None and charset.lower() not in UTF8:
        try:
            body = body.decode(charset).encode()
        except (UnicodeError, LookupError) as err:
            raise ValueError(f"the body is not {charset} text") from err
    try:
        if _LONG in body.translate(_DIGITS):
            return parse_text(body.decode())
        return orjson.loads(body)
    except UnicodeDecodeError as err:
        raise ValueError(f"the body is not UTF-8 text (byte {err.start})") from err
    except ValueError as err:
        reason = "it is not UTF-8 text" if "UTF-8" in str(err) else str(err)
        raise ValueError(f"the body is not JSON: {reason}") from err
