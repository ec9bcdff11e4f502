"""Func hosts: processes that have one bundle loaded, in the bundle's own language and interpreter."""

from __future__ import annotations

from importlib import import_module

from funcatron.errors import HostError
from funcatron.hosts.base import Command, HostDriver, Limits, Prepared, User
from funcatron.hosts.link import Answer
from funcatron.hosts.process import Host

DRIVERS = {"python": "funcatron.hosts.python.driver:PythonHostDriver"}

__all__ = ["DRIVERS", "Answer", "Command", "Host", "HostDriver", "Limits", "Prepared", "User", "driver"]


def driver(kind: str) -> HostDriver:
    """Return the driver for a bundle's kind. Raises HostError that lists what there is."""
    target = DRIVERS.get(kind)
    if target is None:
        raise HostError(f"this Funcatron has no Func host for bundles of kind {kind!r}; it has: {', '.join(DRIVERS)}")
    module, name = target.split(":")
    made: HostDriver = getattr(import_module(module), name)()
    return made
