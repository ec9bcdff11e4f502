"""`resty.rabbitmqstomp` against a scripted server, and against RabbitMQ with scripts for the library it replaces."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from lua_support.rabbit import Rabbit
from lua_support.stomp_server import Connection, Frame, StompServer

Run = Callable[..., Any]

CONNECT = """
local rabbitmq = require "resty.rabbitmqstomp"
local mq = assert(rabbitmq:new(opts))
mq:set_timeout(2000)
local ok, err = mq:connect("127.0.0.1", port)
"""


def test_it_logs_in_with_the_users_name_password_and_vhost(run_lua: Run, stomp_server: StompServer) -> None:
    code = 'local opts = { username = "u:1", password = "p\\\\w", vhost = "/v" }' + CONNECT + "return ok, err"
    connected, error = run_lua(code, port=stomp_server.port)
    assert error is None
    assert connected.startswith("CONNECTED\n")
    frame = stomp_server.take("CONNECT")
    assert b"login:u:1" in frame.raw_head  # CONNECT is not escaped
    assert b"passcode:p\\w" in frame.raw_head
    assert frame.headers["host"] == "/v"
    assert frame.headers["accept-version"] == "1.2"


def test_without_options_it_is_guest(run_lua: Run, stomp_server: StompServer) -> None:
    assert run_lua("local opts" + CONNECT + "return not not ok", port=stomp_server.port) == [True]
    frame = stomp_server.take("CONNECT")
    assert (frame.headers["login"], frame.headers["passcode"], frame.headers["host"]) == ("guest", "guest", "/")


def test_a_refused_login_is_an_error_with_the_brokers_reason(run_lua: Run, stomp_server: StompServer) -> None:
    def script(connection: Connection, frame: Frame) -> bool:
        connection.send(b"ERROR\nmessage:Bad CONNECT\ncontent-length:6\n\ndenied\0")
        return True

    stomp_server.script = script
    ok, error = run_lua("local opts" + CONNECT + "return ok, err", port=stomp_server.port)
    assert ok is None
    assert error == "Bad CONNECT: denied"


def test_a_refused_connection_says_so(run_lua: Run) -> None:
    ok, error = run_lua("local opts" + CONNECT + "return ok, err", port=1)
    assert ok is None
    assert error.startswith("failed to connect: ")


def test_send_with_a_receipt_waits_for_it_and_keeps_messages_for_receive(
    run_lua: Run, stomp_server: StompServer
) -> None:
    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command != "SEND":
            return False
        connection.message(b"first")
        connection.send(b"RECEIPT\nreceipt-id:another\n\n\0\n")
        connection.message(b"second")
        connection.send(b"RECEIPT\nreceipt-id:msg#1\n\n\0\n")
        return True

    stomp_server.script = script
    code = (
        CONNECT
        + """
        local headers = { destination = "/queue/a", receipt = "msg#1", persistent = "true" }
        local sent, problem = mq:send("body", headers)
        local one, err1 = mq:receive()
        local two = mq:receive()
        return sent, problem, one, err1, two, headers["content-length"]
    """
    )
    sent, problem, one, error, two, length = run_lua("local opts" + code, port=stomp_server.port)
    assert sent.startswith("RECEIPT\n")
    assert (problem, one, error, two) == (None, "first", None, "second")
    assert length is None  # the caller's table is left as it was
    assert stomp_server.take("SEND").body == b"body"


def test_an_error_instead_of_a_receipt_is_an_error(run_lua: Run, stomp_server: StompServer) -> None:
    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command != "SEND":
            return False
        connection.send(b"ERROR\nmessage:not_found\ncontent-length:20\n\nno exchange 'x'\nsad \0")
        return True

    stomp_server.script = script
    code = CONNECT + 'return mq:send("body", { destination = "/exchange/x", receipt = "1" })'
    assert run_lua("local opts" + code, port=stomp_server.port) == [None, "not_found: no exchange 'x' sad"]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_receive_returns_binary_bodies_whole_however_they_are_split(
    run_lua: Run, stomp_server: StompServer, size: int
) -> None:
    body = bytes(range(256)) * 3

    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command != "SUBSCRIBE":
            return False
        data = b"\nMESSAGE\nsubscription:1\ncontent-length:%d\n\n%b\0\n" % (len(body), body)
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
        return True

    stomp_server.script = script
    code = (
        CONNECT
        + """
        mq:subscribe({ destination = "/amq/queue/a", id = "1" })
        local data, err, headers = mq:receive()
        return ngx.encode_base64(data), err, headers.subscription
    """
    )
    data, error, subscription = run_lua("local opts" + code, port=stomp_server.port)
    assert base64.b64decode(data) == body
    assert (error, subscription) == (None, "1")


def test_receive_times_out_and_can_be_called_again(run_lua: Run, stomp_server: StompServer) -> None:
    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command == "UNSUBSCRIBE":
            connection.message(b"late", subscription="1")
        return False

    stomp_server.script = script
    code = (
        CONNECT
        + """
        mq:set_timeout(50)
        local data, err = mq:receive()
        mq:unsubscribe({ id = "1" })
        mq:set_timeout(2000)
        return data, err, (mq:receive())
    """
    )
    assert run_lua("local opts" + code, port=stomp_server.port) == [None, "timeout", "late"]


def test_a_broken_stream_is_an_error(run_lua: Run, stomp_server: StompServer) -> None:
    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command != "SUBSCRIBE":
            return False
        connection.send(b"MESSAGE\nnonsense\n\n\0")
        return True

    stomp_server.script = script
    code = CONNECT + 'mq:subscribe({ destination = "/queue/a", id = "1" }) return mq:receive()'
    assert run_lua("local opts" + code, port=stomp_server.port) == [None, "broken stream: header without a colon"]


def test_close_says_disconnect_and_waits_for_the_receipt(run_lua: Run, stomp_server: StompServer) -> None:
    assert run_lua("local opts" + CONNECT + "return mq:close()", port=stomp_server.port) == [1]
    assert stomp_server.take("DISCONNECT").headers == {"receipt": "disconnect"}
    assert stomp_server.last.closed.wait(5)


def test_a_pooled_connection_is_used_again_without_a_login(run_lua: Run, stomp_server: StompServer) -> None:
    code = (
        CONNECT
        + """
        local before = mq:get_reused_times()
        local kept, problem = mq:set_keepalive(10000, 10)
        local again = rabbitmq:new()
        again:set_timeout(2000)
        local ok2 = again:connect("127.0.0.1", port)
        local times = again:get_reused_times()
        again:send("x", { destination = "/queue/a" })
        again:close()
        return before, kept, problem, ok2, times
    """
    )
    assert run_lua("local opts" + code, port=stomp_server.port) == [0, 1, None, 1, 1]
    stomp_server.take("SEND")
    assert len(stomp_server.connections) == 1


def test_a_connection_with_unread_messages_is_not_pooled(run_lua: Run, stomp_server: StompServer) -> None:
    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command == "SEND":
            connection.message(b"unread")
        return False

    stomp_server.script = script
    code = (
        CONNECT
        + """
        mq:send("x", { destination = "/queue/a", receipt = "1" })
        local kept, problem = mq:set_keepalive(10000, 10)
        mq:close()
        return kept, problem
    """
    )
    kept, problem = run_lua("local opts" + code, port=stomp_server.port)
    assert kept is None
    assert "unread" in problem


def test_keepalive_before_connect_is_an_error(run_lua: Run) -> None:
    code = 'local mq = require("resty.rabbitmqstomp"):new() return mq:set_keepalive(1, 1)'
    kept, problem = run_lua(code)
    assert kept is None
    assert problem.startswith("cannot be reused in the current connection state")


def test_connect_takes_one_table_as_older_scripts_give(run_lua: Run, stomp_server: StompServer) -> None:
    code = """
        local mq = require("resty/rabbitmqstomp"):new()
        mq:set_timeout(2000)
        local ok, err = mq:connect({ host = "127.0.0.1", port = port, username = "u", password = "p", vhost = "/w" })
        return ok ~= nil, err
    """
    assert run_lua(code, port=stomp_server.port) == [True, None]
    frame = stomp_server.take("CONNECT")
    assert (frame.headers["login"], frame.headers["passcode"], frame.headers["host"]) == ("u", "p", "/w")


def test_a_script_written_for_the_library_runs_against_rabbitmq(run_lua: Run, rabbit: Rabbit) -> None:
    """Produce with a confirmation, consume, unsubscribe, keep the connection: as its documentation shows."""
    connection = rabbit.connect()
    channel = connection.channel()
    channel.queue_declare("script", durable=True)
    channel.queue_bind("script", "amq.direct", "binding")
    code = """
        local cjson = require "cjson"
        local rabbitmq = require "resty.rabbitmqstomp"
        local opts = { username = "guest", password = "guest", vhost = "/", trailing_lf = true }
        local mq, err = rabbitmq:new(opts)
        if not mq then return "new", err end
        mq:set_timeout(10000)
        local ok, err = mq:connect("127.0.0.1", port)
        if not ok then return "connect", err end
        local headers = {}
        headers["destination"] = "/exchange/amq.direct/binding"
        headers["receipt"] = "msg#1"
        headers["app-id"] = "luaresty"
        headers["persistent"] = "true"
        headers["content-type"] = "application/json"
        local ok, err = mq:send(cjson.encode({ key = "value1", key2 = "value2" }), headers)
        if not ok then return "send", err end
        local headers = {}
        headers["destination"] = "/amq/queue/script"
        headers["persistent"] = "true"
        headers["id"] = "123"
        local ok, err = mq:subscribe(headers)
        if not ok then return "subscribe", err end
        local data, err = mq:receive()
        if not data then return "receive", err end
        local ok, err = mq:unsubscribe({ persistent = "true", id = "123" })
        local ok, err = mq:set_keepalive(10000, 10000)
        if not ok then return "keepalive", err end
        return cjson.decode(data)
    """
    assert run_lua(code, port=rabbit.stomp_port) == [{"key": "value1", "key2": "value2"}]
    channel.queue_delete("script")
    connection.close()


def test_a_binary_message_goes_through_rabbitmq_and_back(run_lua: Run, rabbit: Rabbit) -> None:
    code = (
        """
        local opts
    """
        + CONNECT
        + """
        local body = ""
        for i = 0, 255 do body = body .. string.char(i) end
        body = body:rep(2000)
        mq:subscribe({ destination = "/queue/binary", id = "1", exclusive = "true", durable = "false",
            ["auto-delete"] = "true" })
        mq:send(body, { destination = "/amq/queue/binary", ["x:odd"] = "a\\\\b:c" })
        local data, err, headers = mq:receive()
        mq:close()
        return data == body, err, headers["x:odd"]
    """
    )
    assert run_lua(code, port=rabbit.stomp_port) == [True, None, "a\\b:c"]
