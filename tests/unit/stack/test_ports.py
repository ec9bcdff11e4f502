"""Taken ports are named, with who has them and the setting that changes them."""

import os
import socket

import pytest

from funcatron.settings import Settings
from funcatron.stack import StackError, ports
from funcatron.stack.ports import Port


@pytest.fixture
def held():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one.getsockname()[1]


def port(number, setting="http_port"):
    return Port(setting, number, "127.0.0.1", "HTTP of the Frontend")


def test_a_taken_port_is_named_with_its_holder_and_the_setting(held):
    with pytest.raises(StackError) as caught:
        ports.check([port(held)])
    text = str(caught.value)
    assert f"port {held} (HTTP of the Frontend) is taken by process {os.getpid()}: " in text
    assert "pytest" in text
    assert "FUNCATRON_HTTP_PORT=" in text
    assert "http_port = " in text


def test_free_ports_pass(held):
    ports.check([port(free()), port(free(), "admin_port")])


def test_all_taken_ports_are_told_at_once(held):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(StackError) as caught:
            ports.check([port(held), port(other.getsockname()[1], "admin_port")])
    assert str(caught.value).count("is taken") == 2


def test_a_port_that_two_settings_name_is_refused():
    number = free()
    with pytest.raises(StackError, match="FUNCATRON_HTTP_PORT and FUNCATRON_AMQP_PORT are both"):
        ports.check([port(number), port(number, "amqp_port")])


def test_a_port_bound_on_all_addresses_counts_as_taken():
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        one.listen()
        with pytest.raises(StackError, match="is taken"):
            ports.check([port(one.getsockname()[1])])


def test_an_address_that_this_machine_lacks_is_told():
    with pytest.raises(StackError, match="cannot listen on"):
        ports.check([Port("http_port", free(), "203.0.113.7", "HTTP")])


def test_a_name_that_does_not_resolve_is_told():
    with pytest.raises(StackError, match="cannot listen on"):
        ports.check([Port("http_port", free(), "no such host", "HTTP")])


def test_every_port_setting_is_checked():
    names = {name for name in Settings.model_fields if name.endswith("_port")}
    assert {one.setting for one in ports.ports_of(Settings())} == names


def free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
