"""A STOMP server that does what a test tells it: its frames are written by hand here, apart from the Lua codec."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from .waiting import until


@dataclass
class Frame:
    """A frame as the server got it."""

    command: str
    headers: dict[str, str]
    body: bytes
    raw_head: bytes = b""


def unescape(text: str) -> str:
    """Undo STOMP's escapes."""
    marks = {"\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\c": ":"}
    out, i = "", 0
    while i < len(text):
        pair = text[i : i + 2]
        out += marks.get(pair, text[i])
        i += 2 if pair in marks else 1
    return out


@dataclass
class Connection:
    """One client's connection."""

    sock: socket.socket
    server: StompServer
    buffer: bytes = b""
    beats: int = 0  # heart-beats that came
    subscriptions: dict[str, str] = field(default_factory=dict)  # id → destination
    closed: threading.Event = field(default_factory=threading.Event)

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            self.closed.set()

    def message(self, body: bytes, subscription: str = "reply", extra: str = "", **headers: str) -> None:
        """Send a MESSAGE; underscores of header names become hyphens."""
        lines = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())
        head = f"MESSAGE\nsubscription:{subscription}\nmessage-id:1\n{lines}{extra}content-length:{len(body)}\n\n"
        self.send(head.encode() + body + b"\0\n")

    def close(self) -> None:
        self.closed.set()
        self.sock.close()

    def read_frame(self) -> Frame | None:
        """The next frame, None at the end of the connection."""
        while True:
            while self.buffer[:1] in {b"\n", b"\r"} and self.buffer:
                self.buffer = self.buffer[1:]
                self.beats += 1
            end = self.buffer.find(b"\n\n")
            crlf = self.buffer.find(b"\r\n\r\n")
            if crlf >= 0 and (end < 0 or crlf < end):
                end, blank = crlf, 4
            else:
                blank = 2
            if end >= 0:
                head = self.buffer[:end]
                command, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
                headers: dict[str, str] = {}
                for line in lines:
                    name, _, value = line.partition(":")
                    headers.setdefault(unescape(name), unescape(value))
                start = end + blank
                length = headers.get("content-length")
                stop = start + int(length) if length else self.buffer.find(b"\0", start)
                if stop >= start and len(self.buffer) > stop:
                    assert self.buffer[stop : stop + 1] == b"\0"
                    body = self.buffer[start:stop]
                    self.buffer = self.buffer[stop + 1 :]
                    return Frame(command, headers, body, head)
            try:
                data = self.sock.recv(65536)
            except OSError:
                return None
            if not data:
                return None
            self.buffer += data


Script = Callable[[Connection, Frame], "bool | None"]


class StompServer:
    """Logs clients in, gives receipts and echoes pings; `script` sees each frame first and returns True for "done"."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.script: Script = lambda connection, frame: None
        self.frames: queue.Queue[Frame] = queue.Queue()
        self.connections: list[Connection] = []
        self.heartbeat = "0,0"
        self.echo = True
        self.stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(sock, self)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        while (frame := connection.read_frame()) is not None:
            ping = frame.headers.get("correlation-id") == "!ping"
            if not ping:
                self.frames.put(frame)
            if not self.script(connection, frame):
                self._usual(connection, frame, ping)
        connection.closed.set()
        connection.sock.close()

    def _usual(self, connection: Connection, frame: Frame, ping: bool) -> None:
        if frame.command == "CONNECT":
            connection.send(f"CONNECTED\nversion:1.2\nheart-beat:{self.heartbeat}\n\n\0\n".encode())
        elif frame.command == "SUBSCRIBE":
            connection.subscriptions[frame.headers["id"]] = frame.headers["destination"]
        elif ping and self.echo:
            connection.message(b"", correlation_id="!ping")
        if "receipt" in frame.headers:
            connection.send(f"RECEIPT\nreceipt-id:{frame.headers['receipt']}\n\n\0\n".encode())

    @property
    def last(self) -> Connection:
        """The newest connection."""
        return self.connections[-1]

    def take(self, command: str, seconds: float = 5, **headers: str) -> Frame:
        """The next frame of that command with those headers; others before it are dropped."""
        while True:
            frame = self.frames.get(timeout=seconds)
            wanted = {name.replace("_", "-"): value for name, value in headers.items()}
            if frame.command == command and all(frame.headers.get(n) == v for n, v in wanted.items()):
                return frame

    def wait_connections(self, count: int, seconds: float = 10) -> None:
        until(lambda: len(self.connections) >= count, seconds, f"{count} connections")

    def stop(self) -> None:
        """Close everything."""
        if not self.stopped:
            self.stopped = True
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        for connection in self.connections:
            connection.close()
