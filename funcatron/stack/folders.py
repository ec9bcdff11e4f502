"""The data folder: where each thing lies, and the secrets that are made once."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from funcatron.errors import FuncatronError

# sun_path holds 108 bytes; supervisord first binds a temporary name that is up to 8 longer
SOCKET_PATH_MAX = 96
# RabbitMQ hands its folder to a shell in quotes, nginx expands variables in paths
UNBEARABLE = "'\"\\$`"


class StackError(FuncatronError):
    """The stack on this machine cannot be started, stopped or asked."""


class Folders:
    """The paths below one data folder. Nothing is made before `make()`."""

    def __init__(self, data: Path) -> None:
        self.data = Path(os.path.abspath(data))
        self.run = self.data / "run"
        self.log = self.data / "log"
        self.broker = self.data / "broker"
        self.nginx = self.data / "nginx"
        self.bodies = self.data / "bodies"
        self.secrets = self.data / "secrets"
        self.samples = self.data / "samples"

    @property
    def settings(self) -> Path:
        """The settings file that every part of the running stack reads."""
        return self.run / "settings.toml"

    @property
    def supervisor_config(self) -> Path:
        """The supervisor's rendered configuration."""
        return self.run / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """The supervisor's control socket; in a short folder of its own where the data folder's path is too long."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return path
        key = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"funcatron-{os.getuid()}-{key}" / "supervisor.sock"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops the stack."""
        return self.run / "lock"

    @property
    def deployed_marker(self) -> Path:
        """There once the samples were deployed: they are offered once, not forced."""
        return self.samples / "deployed"

    def make(self) -> None:
        """Make the folders. Secrets and control sockets are for the owner only. Raises StackError."""
        bad = sorted(set(UNBEARABLE) & set(str(self.data)))
        if bad or not str(self.data).isprintable():
            raise StackError(
                f"the data folder {str(self.data)!r} has characters in its path that nginx or RabbitMQ cannot bear"
                f" ({' '.join(bad) or 'unprintable ones'}): choose another with --data or FUNCATRON_DATA"
            )
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            for folder in (self.log, self.broker, self.nginx, self.samples):
                folder.mkdir(exist_ok=True)
            for folder in (self.secrets, self.run, self.broker, self.supervisor_socket.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
                if folder.stat().st_uid != os.getuid():
                    raise StackError(f"{folder} belongs to another user: use that user, or another --data folder")
                folder.chmod(0o700)
        except OSError as err:
            raise StackError(f"the data folder {self.data} cannot be made: {err}") from err

    def secret(self, name: str, length: int = 32) -> str:
        """Return the secret of that name; it is made the first time."""
        file = self.secrets / name
        if not file.exists():
            write_private(file, secrets.token_hex(length // 2))
        return file.read_text().strip()


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(file)
