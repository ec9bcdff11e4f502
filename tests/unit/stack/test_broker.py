"""The stack's own RabbitMQ: what its files say."""

import base64
import hashlib
import json

import pytest

from funcatron.settings import Settings
from funcatron.stack import StackError, broker
from funcatron.stack.folders import Folders


@pytest.fixture
def folders(tmp_path):
    made = Folders(tmp_path / "var")
    made.make()
    return made


@pytest.mark.parametrize(
    ("setting", "cores", "flag"),
    [
        ("auto", 1, "+S 1:1"),
        ("auto", 2, "+S 1:1"),
        ("auto", 4, "+S 1:1"),
        ("auto", 8, ""),
        ("all", 2, ""),
        ("3", 16, "+S 3:3"),
    ],
)
def test_schedulers_follow_the_cores_unless_a_setting_says_otherwise(setting, cores, flag):
    assert broker.schedulers(setting, cores) == flag


@pytest.mark.parametrize("setting", ["many", "0", "-1", ""])
def test_a_senseless_number_of_schedulers_is_refused(setting):
    with pytest.raises(StackError, match="broker_schedulers"):
        broker.schedulers(setting, 2)


def test_the_password_hash_is_what_rabbitmq_computes():
    raw = base64.b64decode(broker.password_hash("secret", b"\x01\x02\x03\x04"))
    assert raw[:4] == b"\x01\x02\x03\x04"
    assert raw[4:] == hashlib.sha256(b"\x01\x02\x03\x04secret").digest()


def test_the_topology_is_declared_at_boot(folders):
    made = broker.definitions(Settings(broker_vhost="test", control_queue="other"), "secret")
    assert {exchange["name"]: exchange["type"] for exchange in made["exchanges"]} == {
        "funcatron.firehose": "fanout",
        "funcatron.funcs": "direct",
        "funcatron.frontends": "fanout",
        "funcatron.runners": "fanout",
    }
    assert {queue["name"] for queue in made["queues"]} == {"funcatron.firehose", "other", "funcatron.dead-letter"}
    funcs = next(exchange for exchange in made["exchanges"] if exchange["name"] == "funcatron.funcs")
    assert funcs["arguments"] == {"alternate-exchange": "funcatron.firehose"}
    assert {thing["vhost"] for kind in ("exchanges", "queues", "bindings") for thing in made[kind]} == {"test"}


def test_no_file_with_a_secret_is_for_others(folders):
    broker.write(Settings(), folders, "secret")
    for file in ("definitions.json", "rabbitmq.conf", ".erlang.cookie"):
        assert (folders.broker / file).stat().st_mode & 0o077 == 0, file
    assert folders.secrets.stat().st_mode & 0o077 == 0


def test_all_listeners_are_on_loopback_and_on_the_settings_ports(folders):
    broker.write(Settings(amqp_port=1001, stomp_port=1002, management_port=1003), folders, "secret")
    config = (folders.broker / "rabbitmq.conf").read_text()
    assert "listeners.tcp.default = 127.0.0.1:1001" in config
    assert "stomp.listeners.tcp.1 = 127.0.0.1:1002" in config
    assert "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = 1003" in config
    json.loads((folders.broker / "definitions.json").read_text())


def test_the_environment_points_nowhere_but_into_the_folder(folders):
    made = broker.environment(Settings(dist_port=1004, epmd_port=1005), folders)
    paths = {name: value for name, value in made.items() if value.startswith("/")}
    assert {name for name, value in paths.items() if not value.startswith(str(folders.data))} == set()
    assert made["RABBITMQ_DIST_PORT"] == "1004"
    assert made["ERL_EPMD_PORT"] == "1005"
    assert made["RABBITMQ_NODENAME"].startswith("funcatron-")


def test_the_node_keeps_its_name_and_another_folder_has_another(folders, tmp_path):
    first = broker.environment(Settings(), folders)["RABBITMQ_NODENAME"]
    other = Folders(tmp_path / "other")
    other.make()
    assert broker.environment(Settings(), folders)["RABBITMQ_NODENAME"] == first
    assert broker.environment(Settings(), other)["RABBITMQ_NODENAME"] != first
