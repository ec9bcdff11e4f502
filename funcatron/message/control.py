"""Control messages: made here, one function an action, and taken apart by `parse`.

Each returns a dict; `encode` makes the bytes. `more` are further fields (kebab-case by `**{"a-name": …}`); a reader
ignores what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson

from funcatron.errors import BadMessage
from funcatron.message.envelope import head
from funcatron.message.schema import ACTIONS, validate

TAKES = ("stats",)
"""Actions for a Tron that older ones do not know: they would dead-letter them."""

Json = dict[str, Any]
Kind = Literal["frontend", "runner", "tron"]


class Message(NamedTuple):
    """A message that follows its schema. `fields` is all of it."""

    action: str
    id: str
    sender: str
    at: int
    version: int
    fields: Json


def parse(data: bytes) -> Message:
    """Decode a message of any action and check it against its schema.

    Raises BadMessage with a sentence for what is not JSON, an unknown action, or each breach of the schema.
    """
    fields = decode(data)
    validate(fields["action"], fields)
    return Message(
        fields["action"],
        fields.get("msg-id", ""),
        fields.get("from", ""),
        fields.get("at", 0),
        fields.get("version", 1),
        fields,
    )


def decode(data: bytes) -> Json:
    """Decode a message of a known action, without a look at its fields. Raises BadMessage."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as err:
        raise BadMessage(f"The message is not JSON: {err}.") from err
    if not isinstance(fields, dict):
        raise BadMessage("The message is not a JSON object.")
    action = fields.get("action")
    if not isinstance(action, str):
        raise BadMessage("The message has no action.")
    if action not in ACTIONS:
        raise BadMessage(f"The action {action[:60]!r} is unknown.")
    return fields


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message's bytes. Raises BadMessage for what JSON cannot carry."""
    try:
        return orjson.dumps(message)
    except TypeError as err:
        raise BadMessage(f"The message cannot be encoded: {err}.") from err


def service(
    sender: str,
    request_id: str,
    method: str,
    request_uri: str,
    headers: Mapping[str, str | Sequence[str]],
    *,
    body: str = "",
    base64: bool = False,
    deadline: int | None = None,
    host: str | None = None,
    **more: Any,
) -> Json:
    """A request for a Func. `body` as `encode_body` returns it; `deadline` in ms since 1970."""
    path, mark, query = request_uri.partition("?")
    message = head("service", sender) | {
        "request-id": request_id,
        "method": method,
        "request-uri": request_uri,
        "uri": path,
        "headers": dict(headers),
        "body": body,
        "body-base64-encoded": base64,
    }
    optional = {"args": query if mark else None, "deadline": deadline, "host": host}
    return message | {name: value for name, value in optional.items() if value is not None} | more


def awake(sender: str, kind: Kind, *, host_info: Mapping[str, Any], reply_to: str | None = None, **more: Any) -> Json:
    """An instance has started."""
    message = head("awake", sender) | {"type": kind, "instance-id": sender, "host_info": dict(host_info)}
    return message | ({} if reply_to is None else {"reply-to": reply_to}) | more


def heartbeat(sender: str, kind: Kind, **more: Any) -> Json:
    """An instance is alive."""
    return head("heartbeat", sender) | {"type": kind, "instance-id": sender} | more


def died(sender: str, kind: Kind, **more: Any) -> Json:
    """An instance ends."""
    return head("died", sender) | {"type": kind, "instance-id": sender} | more


def route(sender: str, routes: Iterable[Mapping[str, Any]], version: int, **more: Any) -> Json:
    """The route table, in the order to try: `host` (or None), `path`, `queue`, `name`, `sha` each."""
    return head("route", sender) | {"routes": [dict(it) for it in routes], "routes-version": version} | more


def enable(sender: str, bundle: Mapping[str, Any], tron_host: tuple[str, int], **more: Any) -> Json:
    """Serve a bundle: `sha`, `name`, `queue`, `host`, `path`, `props`, `settings`."""
    return head("enable", sender) | dict(bundle) | {"tron-host": _address(tron_host)} | more


def disable(sender: str, sha: str, queue: str, *, drain: bool = True, **more: Any) -> Json:
    """Serve a bundle no longer."""
    return head("disable", sender) | {"sha": sha, "queue": queue, "drain": drain} | more


def all_bundles(sender: str, bundles: Iterable[Mapping[str, Any]], **more: Any) -> Json:
    """Everything that shall be served."""
    return head("all-bundles", sender) | {"bundles": [dict(it) for it in bundles]} | more


def tron_info(sender: str, tron_host: tuple[str, int], **more: Any) -> Json:
    """Where the admin API is, and what may be sent to a Tron of this release."""
    return head("tron-info", sender) | {"tron-host": _address(tron_host), "takes": list(TAKES)} | more


def allocate(sender: str, funcs: Iterable[Mapping[str, Any]], *, epoch: int, **more: Any) -> Json:
    """All that one Runner shall run: `queue`, `instances` and, for the Func that it shall wake, `waker` each."""
    return head("allocate", sender) | {"epoch": epoch, "funcs": [dict(it) for it in funcs]} | more


def stats(
    sender: str, start: str, seq: int, funcs: Iterable[Mapping[str, Any]], *, full: bool, within: float, **more: Any
) -> Json:
    """What a Runner did, by Func; counters are totals. The next one comes `within` so many seconds."""
    figures = {"start": start, "seq": seq, "full": full, "next": within, "funcs": list(funcs)}
    return head("stats", sender) | {"instance-id": sender} | figures | more


def ack(sender: str, ack_id: str, *, ok: bool, stage: str, final: bool, **more: Any) -> Json:
    """What became of a message."""
    return (
        head("ack", sender) | {"ack-id": ack_id, "instance-id": sender, "ok": ok, "stage": stage, "final": final} | more
    )


def resend_awake(sender: str, **more: Any) -> Json:
    """Say again what you are."""
    return head("resend-awake", sender) | more


def die(sender: str, instance: str, **more: Any) -> Json:
    """The instance with that id shall end."""
    return head("die", sender) | {"instance-id": instance} | more


def _address(tron_host: tuple[str, int]) -> Json:
    return {"host": tron_host[0], "port": tron_host[1]}
