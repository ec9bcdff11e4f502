"""The stack's own RabbitMQ: its configuration files, its topology at boot, and how it is started."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from funcatron.settings import Settings
from funcatron.stack.folders import Folders, StackError, write_private

PLUGINS = ("rabbitmq_management", "rabbitmq_stomp")
# Debian; RabbitMQ's own packages; elsewhere whatever is on PATH. Not /usr/sbin/rabbitmq-server: it switches the user.
SERVER_PATTERNS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
)
EPMD_PATTERNS = ("/usr/bin/epmd", "/usr/lib/erlang/bin/epmd", "/usr/lib/erlang/erts-*/bin/epmd")
# A machine with up to so many cores runs everything on them, and then one scheduler beats many by far
SMALL_MACHINE_CORES = 4
FIREHOSE = "funcatron.firehose"
# the most that RabbitMQ allows
MAX_MESSAGE_BYTES = 536_870_912
LISTENER = "127.0.0.1"
CONFIG = """\
# Written by `funcatron up`; changes are lost.
listeners.tcp.default = {host}:{settings.amqp_port}
stomp.listeners.tcp.1 = {host}:{settings.stomp_port}
management.tcp.ip = {host}
management.tcp.port = {settings.management_port}
management.load_definitions = {definitions}
# rates are counted by the Tron; the broker would spend CPU on them for each message
management.rates_mode = none
default_vhost = {vhost}
default_user = {settings.broker_user}
default_pass = {password}
vm_memory_high_watermark.relative = 0.4
disk_free_limit.absolute = 100MB
heartbeat = 30
# a Func may work for hours on a message before it is acked; milliseconds
consumer_timeout = 86400000
# bodies travel inside messages
max_message_size = {max_message}
log.file = false
log.console = true
# its start alone says a hundred lines at info
log.console.level = notice
log.console.formatter = json
log.console.formatter.json.field_map = time:time level:level msg:message pid:pid *:-
log.connection.level = warning
log.queue.level = warning
"""


def is_own(settings: Settings) -> bool:
    """Does the stack run its own broker? Not if the settings name one elsewhere."""
    return settings.broker_host in {"127.0.0.1", "localhost", "::1"} and not settings.broker_tls


def write(settings: Settings, folders: Folders, password: str) -> None:
    """Write the broker's configuration, definitions, plugin list and cookie."""
    home = folders.broker
    (home / "conf.d").mkdir(exist_ok=True)
    definitions_file = home / "definitions.json"
    write_private(definitions_file, json.dumps(definitions(settings, password), indent=1))
    config = CONFIG.format(
        host=LISTENER,
        settings=settings,
        definitions=definitions_file,
        vhost=settings.broker_vhost,
        password=password,
        max_message=MAX_MESSAGE_BYTES,
    )
    write_private(home / "rabbitmq.conf", config)
    write_private(home / "advanced.config", "[].\n")
    write_private(home / "enabled_plugins", f"[{','.join(PLUGINS)}].\n")
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        write_private(cookie, folders.secret("cookie"))
        cookie.chmod(0o400)


def definitions(settings: Settings, password: str) -> dict[str, Any]:
    """Return user, virtual host and topology as RabbitMQ imports them at boot.

    The Tron declares the same when it starts; having it here as well lets Frontends and Runners start in any order.
    """
    vhost = settings.broker_vhost
    durable = {"vhost": vhost, "durable": True, "auto_delete": False}
    exchange = {**durable, "internal": False}
    queues = (FIREHOSE, settings.control_queue, "funcatron.dead-letter")
    return {
        "users": [
            {
                "name": settings.broker_user,
                "password_hash": password_hash(password, salt=hashlib.sha256(password.encode()).digest()[:4]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["monitoring", "management"],
            }
        ],
        "vhosts": [{"name": vhost}],
        "permissions": [{"user": settings.broker_user, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}],
        "exchanges": [
            {**exchange, "name": FIREHOSE, "type": "fanout", "arguments": {}},
            {**exchange, "name": "funcatron.funcs", "type": "direct", "arguments": {"alternate-exchange": FIREHOSE}},
            {**exchange, "name": "funcatron.frontends", "type": "fanout", "arguments": {}},
            {**exchange, "name": "funcatron.runners", "type": "fanout", "arguments": {}},
        ],
        "queues": [{**durable, "name": name, "arguments": {}} for name in queues],
        "bindings": [
            {
                "source": FIREHOSE,
                "vhost": vhost,
                "destination": FIREHOSE,
                "destination_type": "queue",
                "routing_key": "",
                "arguments": {},
            }
        ],
    }


def password_hash(password: str, salt: bytes) -> str:
    """Return RabbitMQ's salted SHA-256 of a password (its documentation: "Password Hashes")."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def schedulers(setting: str, cores: int) -> str:
    """Return Erlang's flag for the number of schedulers: `auto`, `all` or a number; empty for Erlang's default."""
    if setting == "all" or (setting == "auto" and cores > SMALL_MACHINE_CORES):
        return ""
    number = "1" if setting == "auto" else setting
    if not number.isdigit() or number == "0":
        raise StackError(f"broker_schedulers is {setting!r}: it must be auto, all or a number")
    return f"+S {number}:{number}"


def environment(settings: Settings, folders: Folders) -> dict[str, str]:
    """Return the environment that makes RabbitMQ's scripts use nothing but our folder."""
    home = folders.broker
    cores = len(os.sched_getaffinity(0))
    erlang = (
        schedulers(settings.broker_schedulers, cores),
        "+sbwt none +sbwtdcpu none +sbwtdio none",
        "-start_epmd false",
        "-kernel inet_dist_use_interface {127,0,0,1}",
    )
    return {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(settings.epmd_port),
        "ERL_EPMD_ADDRESS": LISTENER,
        "ERL_CRASH_DUMP_BYTES": "0",
        "RABBITMQ_NODENAME": f"funcatron-{folders.secret('node', 8)}@localhost",
        "RABBITMQ_DIST_PORT": str(settings.dist_port),
        "RABBITMQ_BASE": str(home),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "no-such-file"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folders.log),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
        "RABBITMQ_SCHEMA_DIR": str(home / "schema"),
        "RABBITMQ_PLUGINS_EXPAND_DIR": str(home / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(filter(None, erlang)),
        # the server's script then becomes the Erlang machine instead of waiting for it as its child
        "RABBITMQ_ALLOW_INPUT": "true",
        "RABBITMQ_SERVER_START_ARGS": "-noinput",
    }


def server_program() -> str:
    """Return the path of RabbitMQ's server script. Raises StackError if it is not installed."""
    return find("rabbitmq-server", SERVER_PATTERNS)


def epmd_program() -> str:
    """Return the path of Erlang's port mapper. Raises StackError if it is not installed."""
    return find("epmd", EPMD_PATTERNS)


def find(name: str, patterns: tuple[str, ...]) -> str:
    """Return the first file that matches one of the patterns, else the program of that name on PATH."""
    for pattern in patterns:
        matches = sorted(Path("/").glob(pattern.lstrip("/")))
        if matches:
            return str(matches[-1])
    program = shutil.which(name)
    if program is None:
        raise StackError(f"{name} is not installed: `make setup` installs it on Debian and Ubuntu")
    return program
