"""Settings: read once at the edge, then frozen. A flag wins over the environment, that over the file.

Environment: `FUNCATRON_` + the name in capitals. File: `funcatron.toml` in the working folder, or what
`FUNCATRON_CONFIG` names. An unknown key is an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from funcatron.errors import SettingsError


class Settings(BaseSettings):
    """Every setting of every part, with its default. Ports are TCP ports, times seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="FUNCATRON_", frozen=True, extra="forbid")

    # where things are
    data: Path = Field(Path("var"), description="folder of everything that is written: queues, bundles, logs, sockets")
    bind: str = Field("127.0.0.1", description="address that the Frontend listens on")
    http_port: int = Field(8080, description="the Frontend's port")
    admin_host: str = Field("127.0.0.1", description="address of the admin API; any but loopback needs a token")
    admin_port: int = Field(3000, description="the admin API's port")
    admin_token: SecretStr | None = Field(None, description="bearer token of the admin API")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    # the broker
    broker: str = Field("rabbitmq", description="driver: rabbitmq or memory")
    broker_host: str = Field("127.0.0.1", description="the broker's host")
    amqp_port: int = Field(5682, description="the broker's AMQP port")
    stomp_port: int = Field(61623, description="the broker's STOMP port")
    management_port: int = Field(15682, description="the broker's management port (depth of queues)")
    dist_port: int = Field(25682, description="Erlang distribution port of the stack's own broker")
    epmd_port: int = Field(4379, description="port of the stack's own Erlang port mapper")
    broker_user: str = Field("funcatron", description="user at the broker")
    broker_password: SecretStr | None = Field(None, description="password; by default the one in DATA/secrets/broker")
    broker_vhost: str = Field("/", description="virtual host")
    broker_tls: bool = Field(False, description="speak TLS with the broker")
    broker_ca: Path | None = Field(None, description="file of the certificates to trust (PEM)")
    broker_schedulers: str = Field("auto", description="schedulers of the own broker: auto, all, or a number")
    control_queue: str = Field("for_tron", description="the Tron's control queue")

    # the Frontend
    routing: Literal["firehose", "direct"] = Field("firehose", description="firehose (by the Tron) or direct")
    request_timeout: float = Field(60.0, gt=0, description="longest wait for an answer, s")
    max_body: int = Field(10 * 1024 * 1024, ge=0, description="largest request body, bytes")
    max_waiting: int = Field(10_000, gt=0, description="requests that may wait in one nginx worker")
    bodies: Path | None = Field(
        None, description="folder for large bodies that Frontends and Runners share; without it messages carry them"
    )
    inline_body: int = Field(128 * 1024, ge=16 * 1024, description="bodies up to this size are in messages, bytes")
    nginx_workers: str = Field("auto", description="nginx worker processes: auto or a number")

    # stores
    registry: str | None = Field(None, description="SQLAlchemy URL; by default SQLite in the data folder")
    blobs: str | None = Field(None, description="fsspec URL of the Blob store; by default a folder in the data folder")
    max_bundle: int = Field(512 * 1024 * 1024, gt=0, description="largest Func bundle, bytes")

    # the substrate, which runs Runners and Trons
    substrate: str = Field("process", description="driver: process (this machine)")
    substrate_grace: float = Field(60.0, gt=0, description="a process that is told to end may go on for so long, s")

    # Runners and hosts
    runners: int = Field(1, ge=0, description="Runners on this machine, which `up` starts; never fewer run")
    runners_max: int | None = Field(
        None, ge=0, description="Runners at most, those included that the substrate adds; by default half the cores"
    )
    runners_window: float = Field(
        300.0, ge=0, description="a Runner that was added goes when none was needed for so long, s"
    )
    runner_hosts: int | None = Field(
        None, ge=1, description="hosts that a Runner may run; by default what fits into its part of half the memory"
    )
    trons_max: int = Field(1, ge=1, description="Trons at most, those included that the substrate adds")
    tron_url: str | None = Field(None, description="the admin API's URL; by default http://ADMIN_HOST:ADMIN_PORT")
    cache: Path | None = Field(None, description="folder of unpacked bundles; by default in the data folder")
    func_timeout: float = Field(30.0, gt=0, description="time of a call unless the spec says otherwise, s")
    func_concurrency: int = Field(32, gt=0, description="calls at once in one host, unless the spec says otherwise")
    memory_reserve: int | None = Field(
        None, ge=0, description="with less memory left a Runner starts no hosts, bytes; by default a twentieth of it"
    )
    host_idle: float = Field(600.0, gt=0, description="a host that served nothing for so long is stopped, s")
    host_memory: int = Field(1024 * 1024 * 1024, description="address space of a host, bytes; 0 for no limit")
    host_files: int = Field(1024, description="open files of a host")
    host_cpu: int = Field(0, description="CPU seconds of a host's whole life; 0 for no limit")
    host_uid: int = Field(200_000, description="first user id of hosts where the Runner is root; 0 keeps its user")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then file."""
        file = Path(os.environ.get("FUNCATRON_CONFIG", "funcatron.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    @property
    def password(self) -> str:
        """The broker's password: the setting, else the file that `make up` made."""
        if self.broker_password is not None:
            return self.broker_password.get_secret_value()
        file = self.data / "secrets" / "broker"
        try:
            return file.read_text().strip()
        except OSError as err:
            raise SettingsError(
                f"no password for the broker: set FUNCATRON_BROKER_PASSWORD, or run `make up`, which makes {file}"
            ) from err

    @property
    def most_runners(self) -> int:
        """How many Runners there may be: the setting, else one for every two cores, and never fewer than `runners`."""
        cores = len(os.sched_getaffinity(0))
        return max(self.runners, 1, cores // 2 if self.runners_max is None else self.runners_max)

    def reserve(self, memory: int | None) -> int:
        """Return how much of a machine's memory (bytes; None: not known) should stay free: the setting, else a
        twentieth of it, 64 MiB to 1 GiB."""
        if self.memory_reserve is not None:
            return self.memory_reserve
        least, most = 64 * 1024 * 1024, 1024 * 1024 * 1024
        return least if memory is None else max(least, min(most, memory // 20))

    @property
    def tron(self) -> str:
        """The admin API's URL."""
        return self.tron_url or f"http://{self.admin_host}:{self.admin_port}"

    @property
    def frontend(self) -> str:
        """The Frontend's URL."""
        host = "127.0.0.1" if self.bind in {"0.0.0.0", "::"} else self.bind
        return f"http://{host}:{self.http_port}"

    @property
    def registry_url(self) -> str:
        """The Registry's SQLAlchemy URL."""
        return self.registry or f"sqlite:///{(self.data / 'registry.db').absolute()}"

    @property
    def blobs_url(self) -> str:
        """The Blob store's fsspec URL."""
        return self.blobs or f"file://{(self.data / 'blobs').absolute()}"


def load(**flags: Any) -> Settings:
    """Read the settings; flags that are None count as not given. Raises SettingsError that names each wrong key."""
    file = os.environ.get("FUNCATRON_CONFIG")
    if file and not Path(file).is_file():
        raise SettingsError(f"FUNCATRON_CONFIG names {file}, which does not exist")
    known = {"FUNCATRON_" + name.upper() for name in Settings.model_fields} | {"FUNCATRON_CONFIG"}
    unknown = sorted(name for name in os.environ if name.startswith("FUNCATRON_") and name not in known)
    if unknown:
        raise SettingsError(f"unknown setting in the environment: {', '.join(unknown)}")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as err:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise SettingsError(f"wrong settings: {faults}") from err
    except ValueError as err:  # a file that is not TOML
        raise SettingsError(f"the settings file cannot be read: {err}") from err
