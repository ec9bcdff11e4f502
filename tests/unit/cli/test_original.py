"""The original's flags still work."""

import pytest

from funcatron.cli.original import translate


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["--tron"], ["tron"]),
        (["--runner", "--rabbit_host", "mq"], ["--set", "broker_host=mq", "runner"]),
        (["--rabbit_port=5672", "--tron"], ["--set", "amqp_port=5672", "tron"]),
        (
            ["--tron", "--web_port", "3001", "--tron_queue", "for_tron", "--bundle_store", "/data"],
            ["--set", "admin_port=3001", "--set", "control_queue=for_tron", "--set", "blobs=/data", "tron"],
        ),
        (["list", "--json"], ["list", "--json"]),
        (["--rabbit_host"], ["--rabbit_host"]),
        ([], []),
    ],
)
def test_flags_of_the_original_become_commands_and_settings(given, wanted):
    assert translate(given) == wanted


@pytest.mark.parametrize("given", [["invoke", "x/y", "--", "--tron"], ["deploy", "x.pex", "--name", "a"]])
def test_arguments_of_our_own_commands_are_left_alone(given):
    assert translate(given) == given
