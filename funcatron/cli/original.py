"""The flags of the original Funcatron, so that scripts written for it go on working."""

from __future__ import annotations

from collections.abc import Sequence

MODES = {"--tron": "tron", "--runner": "runner", "--devmode": "dev"}
SETTINGS = {
    "--web_port": "admin_port",
    "--rabbit_host": "broker_host",
    "--rabbit_port": "amqp_port",
    "--tron_queue": "control_queue",
    "--bundle_store": "blobs",
}


def translate(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the original's flags replaced: modes by commands, the rest by `--set NAME=VALUE`."""
    before: list[str] = []
    modes: list[str] = []
    after: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        flag, equals, value = argument.partition("=")
        if flag in SETTINGS and (equals or pending):
            before += ["--set", f"{SETTINGS[flag]}={value if equals else pending.pop(0)}"]
        elif argument in MODES:
            modes.append(MODES[argument])
        else:
            after.append(argument)
    return [*before, *modes, *after]
