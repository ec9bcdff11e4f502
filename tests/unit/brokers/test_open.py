"""Choosing a driver by its name."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from funcatron import brokers
from funcatron.brokers import open_broker
from funcatron.brokers.base import Broker, Outgoing, Queue
from funcatron.brokers.forwarding import Forwarding
from funcatron.errors import SettingsError
from funcatron.settings import Settings


def settings(**values: Any) -> Settings:
    """Return settings with a password, so that none is looked for."""
    return Settings(broker_password="secret", **values)


@pytest.mark.parametrize("name", sorted(brokers.DRIVERS))
async def test_every_driver_is_made_from_the_settings_without_connecting(name: str) -> None:
    """All of them forward."""
    made = open_broker(settings(broker=name), "name")
    assert isinstance(made, Broker)
    assert isinstance(made, Forwarding)
    assert not made.connected
    assert made.blocked is None
    await made.close()


def test_an_unknown_driver_is_an_error_that_lists_the_known_ones() -> None:
    """So that a typo is seen at once."""
    with pytest.raises(SettingsError, match=r"'rabitmq'.*memory, rabbitmq"):
        open_broker(settings(broker="rabitmq"))


def test_a_driver_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the extra of the package, where there is one."""
    monkeypatch.setitem(sys.modules, "funcatron.brokers.rabbitmq", None)
    with pytest.raises(ModuleNotFoundError):
        open_broker(settings())
    monkeypatch.setitem(brokers.DRIVERS, "odd", ("no_such_library:make", "odd"))
    with pytest.raises(SettingsError, match=r"no_such_library.*pip install 'funcatron\[odd\]'"):
        open_broker(settings(broker="odd"))


async def test_brokers_of_one_process_share_the_memory() -> None:
    """As its parts do in dev mode."""
    one, two = (open_broker(settings(broker="memory")) for _ in range(2))
    await one.connect()
    await two.connect()
    await one.declare(Queue("test.shared"))
    two.publish(Outgoing(b"x", "test.shared"))
    assert (await one.depth("test.shared")).ready == 1
    await one.delete("test.shared")
    await one.close()
    await two.close()
