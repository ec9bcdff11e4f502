"""The project's one tree of errors. Drivers translate their libraries' errors into it at the edge."""

from __future__ import annotations

from collections.abc import Sequence


class FuncatronError(Exception):
    """Root of all errors that Funcatron raises on purpose; its text says what to do."""


class SettingsError(FuncatronError):
    """A flag, an environment variable or the settings file is wrong."""


class BadMessage(FuncatronError):
    """A message that cannot be decoded or does not follow its schema."""


class BadBundle(FuncatronError):
    """A bundle that is not one, is damaged, or breaks a limit."""


class Faults(FuncatronError):
    """Several faults found at once; `problems` has a sentence each."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message if not problems else message + "\n" + "\n".join(f"- {p}" for p in problems))
        self.summary = message
        self.problems = tuple(problems)


class BadSpec(Faults):
    """A Swagger/OpenAPI document that is invalid, or asks for what Funcatron cannot do."""


class LoadError(Faults):
    """A bundle whose functions cannot be loaded: import errors, missing callables, wrong interpreter."""


class HostError(FuncatronError):
    """A Func host that could not be started, died, or broke its protocol."""


class BrokerError(FuncatronError):
    """The broker refused something."""


class BrokerAway(BrokerError):
    """There is no connection to the broker now; it is being re-established."""


class UnknownDepth(BrokerError):
    """A queue's depth could not be read. Unknown is not zero."""


class SubstrateError(FuncatronError):
    """The substrate refused something."""


class SubstrateAway(SubstrateError):
    """The substrate cannot be reached or read now. What runs there is unknown, which is not zero."""


class StoreError(FuncatronError):
    """The Registry or the Blob store failed."""


class WrongTables(StoreError):
    """The Registry's tables are of another revision than this Funcatron's: no waiting helps."""


class NotFound(FuncatronError):
    """There is no such deployment, bundle, operation …"""


class Conflict(FuncatronError):
    """The wanted change collides with what is there, e.g. a host and base path that another deployment owns."""


class Stale(Conflict):
    """What is to be changed is not what was read any more: its revision is another."""


class BadSettings(Faults):
    """Settings of a deployment that are wrong or do not fit together: min over max, a split that is not 100 in all."""


class NotLeader(FuncatronError):
    """A change under an epoch that is not the leadership lease's: another Tron leads, or none does yet."""
