"""The messages between the parts. Hot: `ServiceMessage.decode`, `answer_bytes`. The rest: `control` and `parse`."""

from funcatron.message.answer import Answer, answer_bytes, encode_body, is_text
from funcatron.message.control import Message, decode, encode, parse
from funcatron.message.envelope import VERSION, head, message_id
from funcatron.message.schema import ACTIONS, schema, validate
from funcatron.message.service import ServiceMessage

__all__ = [
    "ACTIONS",
    "VERSION",
    "Answer",
    "Message",
    "ServiceMessage",
    "answer_bytes",
    "decode",
    "encode",
    "encode_body",
    "head",
    "is_text",
    "message_id",
    "parse",
    "schema",
    "validate",
]
