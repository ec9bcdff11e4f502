"""Funcs for the integration tests: well and badly behaved ones."""

import asyncio
import logging
import os
import signal
import threading
import time
import warnings


def mark_start(mark):
    """Append a line to the file named by `mark`: counts how often a Func was applied."""
    if mark:
        with open(mark, "a") as file:
            file.write("x")


def echo(value):
    return {"value": value}


def echo_body(context):
    return context.body, 200, {"Content-Type": context.headers.get("content-type") or "application/octet-stream"}


def headers(context):
    return {
        "headers": dict(context.headers),
        "request-id": context.request_id,
        "sha": context.sha,
        "path": context.path,
        "left": context.time_left(),
        "method": context.method,
    }


def wait(seconds, mark=None):
    mark_start(mark)
    time.sleep(seconds)
    return {"waited": seconds}


wait_once = wait_always = wait_late = wait


async def wait_async(seconds):
    await asyncio.sleep(seconds)
    return {"waited": seconds}


def die(mark=None):
    mark_start(mark)
    os.kill(os.getpid(), signal.SIGKILL)


die_once = die


def fail():
    raise RuntimeError("a secret of the Func")


def fail_marked(mark):
    mark_start(mark)
    raise RuntimeError("again")


def stuck():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    time.sleep(3600)


def some_bytes(size):
    return os.urandom(1024) * (size // 1024) + b"\0" * (size % 1024)


def answers(kind):
    return {
        "empty": ("", 200),
        "none": (None, 204),
        "cookies": ({"a": 1}, 200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
        "not-modified": ("", 304, {"ETag": '"x"'}),
        "continue": ("", 100),
        "teapot": ("short and stout", 418, {"Content-Type": "text/plain"}),
        "injection": ("x", 200, {"X-Bad": "a\r\nX-Injected: yes", "X-Good": "1"}),
        "hop": ("x", 200, {"Connection": "X-Private", "X-Private": "1", "Keep-Alive": "5", "X-Good": "1"}),
        "unknown-status": ("", 799),
        "binary": (bytes(range(256)), 200, {"Content-Type": "application/octet-stream"}),
        "text": ("grüße", 200, {"Content-Type": "text/plain; charset=utf-8"}),
    }[kind]


def log(context):
    print("printed")
    logging.getLogger("trial").warning("warned")
    context.logger.info("informed")
    warnings.warn("a warning", stacklevel=1)
    thread = threading.Thread(target=lambda: print("from a thread"))
    thread.start()
    thread.join()
    os.write(1, b"written raw\n")
    return {"request-id": context.request_id}


def peek(path=None):
    seen = {"environment": dict(os.environ), "uid": os.getuid(), "pid": os.getpid(), "pgid": os.getpgrp()}
    if path:
        try:
            with open(path, "rb") as file:
                seen["content"] = file.read(100).decode("latin-1")
        except OSError as err:
            seen["error"] = type(err).__name__
    return seen
