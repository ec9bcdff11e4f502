"""Names of the queues and exchanges that the parts share. The broker's virtual host keeps installations apart."""

from __future__ import annotations

from funcatron.brokers.base import Exchange, Queue

FIREHOSE = "funcatron.firehose"  # exchange (fanout) and queue
FUNCS = "funcatron.funcs"  # exchange (direct): func queues by their own name
FRONTENDS = "funcatron.frontends"  # exchange (fanout): control messages to all Frontends
RUNNERS = "funcatron.runners"  # exchange (fanout): control messages to all Runners
DEAD_LETTER = "funcatron.dead-letter"
FOR_TRON = "for_tron"  # the Tron's control queue unless a setting says otherwise

EXCHANGES = (
    Exchange(FIREHOSE, "fanout"),
    Exchange(FUNCS, "direct", alternate=FIREHOSE),  # what was for a func queue that has just gone is dispatched again
    Exchange(FRONTENDS, "fanout"),
    Exchange(RUNNERS, "fanout"),
)
MAX_KEY = 255  # bytes of a routing key (an AMQP short string)


def queues(control: str = FOR_TRON) -> tuple[Queue, ...]:
    """The durable queues that every part may count on."""
    return Queue(FIREHOSE), Queue(DEAD_LETTER), Queue(control)


def func_queue(name: str, sha: str) -> str:
    """The queue of a deployed bundle."""
    return f"func.{name}.{sha[:8]}"


def frontend_queue(instance: str) -> str:
    """The reply and control queue of a Frontend."""
    return f"funcatron.frontend.{instance}"


def runner_queue(instance: str) -> str:
    """The control queue of a Runner."""
    return f"funcatron.runner.{instance}"


def tron_queue(instance: str) -> str:
    """The queue on which a Tron hears of the leader: as a Frontend, it gets the route table there."""
    return f"funcatron.tron.{instance}"


def firehose_key(host: str, raw_path: str) -> str:
    """The routing key of a message to the firehose: host in lower case without port, then the raw path, cut at 255
    bytes. A key shorter than that is complete."""
    return (host.lower() + raw_path).encode()[:MAX_KEY].decode("utf-8", "ignore")
