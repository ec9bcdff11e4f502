"""Specs: Swagger 2.0 and OpenAPI 3.0/3.1, compiled once into what serves requests. Pure: no I/O, no user code."""

from funcatron.spec.answers import conformance_detail
from funcatron.spec.api import Api, load
from funcatron.spec.document import ENTRIES
from funcatron.spec.extension import Instances
from funcatron.spec.faults import BadRequest, MethodNotAllowed, NoSuchPath, Redirect
from funcatron.spec.operation import Operation
from funcatron.spec.request import Arguments, BodyKind, FilePart, Request
from funcatron.spec.routing import Match

__all__ = [
    "ENTRIES",
    "Api",
    "Arguments",
    "BadRequest",
    "BodyKind",
    "FilePart",
    "Instances",
    "Match",
    "MethodNotAllowed",
    "NoSuchPath",
    "Operation",
    "Redirect",
    "Request",
    "conformance_detail",
    "load",
]
