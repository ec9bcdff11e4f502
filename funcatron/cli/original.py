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
    """Return the arguments with the original's flags replaced: modes by commands, the rest by `--set NAME=VALUE`.

    Only those before a command are looked at: what follows it is the command's own.
    """
    settings: list[str] = []
    modes: list[str] = []
    pending = list(arguments)
    while pending:
        flag, equals, value = pending[0].partition("=")
        if flag in SETTINGS and (equals or len(pending) > 1):
            settings += ["--set", f"{SETTINGS[flag]}={value if equals else pending.pop(1)}"]
        elif flag in MODES and not equals:
            modes.append(MODES[flag])
        else:
            break
        del pending[0]
    return [*settings, *modes, *pending]
