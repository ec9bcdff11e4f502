"""The stack's own nginx: its configuration, rendered from `nginx/`, and how it is started."""

from __future__ import annotations

import os
import pwd
import re
import resource
import shutil
import uuid
from pathlib import Path
from string import Template

from funcatron.settings import Settings
from funcatron.stack.broker import MAX_MESSAGE_BYTES
from funcatron.stack.folders import Folders, StackError, write_private

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("nginx", "openresty")
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/openresty/nginx/sbin", "/usr/local/openresty/bin")
MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
# whom the workers run as where nginx starts as root, in this order
UNPRIVILEGED = ("www-data", "nginx", "nobody")
MAX_WORKERS = 4
OPEN_FILES = 65_536
# s that a worker that leaves may take beyond the longest request
SHUTDOWN_SLACK = 5
TEMP = "tmp"
# where nginx answers /__ready whatever the Funcs are; relative to the data folder, in which it is started
STATUS_SOCKET = "nginx/status.sock"
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
LOG_LEVELS = {"DEBUG": "debug", "INFO": "notice", "WARNING": "warn", "ERROR": "error", "CRITICAL": "crit"}


class Conf(Template):
    """A configuration with `${NAME}` in capitals to be filled in; nginx's own `$name` stay as they are."""

    idpattern = r"[A-Z][A-Z0-9_]*"
    flags = re.VERBOSE


def program() -> str:
    """Return nginx's path. Raises StackError if it is not installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))
    for name in PROGRAMS:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise StackError("nginx is not installed: `make setup` installs it and its Lua module on Debian and Ubuntu")


def command(folders: Folders) -> tuple[str, ...]:
    """Return nginx's command line, in the foreground."""
    main = folders.nginx / "nginx.conf"
    return (program(), "-p", f"{folders.nginx}/", "-c", str(main), "-e", "stderr", "-g", "daemon off;")


def environment(settings: Settings, password: str) -> dict[str, str]:
    """Return what the Frontend reads from its environment."""
    return {
        "RABBIT_HOST": settings.broker_host,
        "RABBIT_PORT": str(settings.stomp_port),
        "RABBIT_USER": settings.broker_user,
        "RABBIT_PWD": password,
        "RABBIT_VHOST": settings.broker_vhost,
        "RABBIT_TLS": "on" if settings.broker_tls else "off",
        "RABBIT_TLS_NAME": settings.broker_host,
        "TRON_QUEUE": settings.control_queue,
        "FUNCATRON_ROUTING": settings.routing,
        "FUNCATRON_REQUEST_TIMEOUT": str(settings.request_timeout),
        "FUNCATRON_MAX_BODY": str(settings.max_body),
        "FUNCATRON_MAX_MESSAGE": str(MAX_MESSAGE_BYTES),
        "FUNCATRON_MAX_WAITING": str(settings.max_waiting),
        "FUNCATRON_BODIES": str(settings.bodies or ""),
        "FUNCATRON_INLINE_BODY": str(settings.inline_body),
    }


def write(settings: Settings, folders: Folders) -> None:
    """Write the configuration, and make the folders that nginx wants."""
    user = worker_user(folders)
    temporary = folders.nginx / TEMP
    temporary.mkdir(exist_ok=True)
    if user:
        shutil.chown(temporary, user)
    if settings.bodies is not None:
        make_bodies(settings.bodies, user)
    for part in sorted((ROOT / "nginx").glob("*.conf")):
        write_private(folders.nginx / part.name, part.read_text())
    write_private(folders.nginx / "nginx.conf", render(settings, folders))


def make_bodies(folder: Path, user: str) -> None:
    """Make the folder of large bodies, which only the workers and the Runners may enter."""
    mark = folder / "id"
    for each in (folder, folder / "requests", folder / "answers"):
        each.mkdir(mode=0o700, exist_ok=True)
        if user:
            shutil.chown(each, user)
    if not mark.exists():
        mark.write_text(f"{uuid.uuid4()}\n")


def render(settings: Settings, folders: Folders) -> str:
    """Return nginx's configuration. Raises StackError if the template asks for what we do not have."""
    template = ROOT / "nginx" / "nginx.conf.template"
    try:
        text = template.read_text()
    except OSError as err:
        raise StackError(f"the Frontend's configuration cannot be read: {err} (is this a whole checkout?)") from err
    done = Conf(text).safe_substitute(variables(settings, folders))
    unknown = sorted(set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)\}", done)))
    if unknown:
        raise StackError(f"{template} has variables that are not known: {', '.join(unknown)}")
    return done


def variables(settings: Settings, folders: Folders) -> dict[str, str]:
    """Return the values of the template's variables. Paths are relative to nginx's prefix: they need no quoting."""
    user = worker_user(folders)
    address = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    return {
        "MODULES": "\n".join(f"load_module {module};" for module in modules()),
        "USER": f"user {user};" if user else "",
        "LIMITS": f"worker_rlimit_nofile {open_files()};",
        "WORKERS": str(workers(settings.nginx_workers, len(os.sched_getaffinity(0)))),
        "SHUTDOWN_TIMEOUT": str(int(settings.request_timeout) + SHUTDOWN_SLACK),
        "PID": "nginx.pid",
        "ERROR_LOG": "stderr",
        "LOG_LEVEL": LOG_LEVELS.get(settings.log_level.upper(), "notice"),
        "ACCESS_LOG": "../log/access.log",
        "TEMP": TEMP,
        "REQUESTS": str(settings.bodies / "requests") if settings.bodies is not None else f"{TEMP}/body",
        "INLINE_BODY": str(settings.inline_body) if settings.bodies is not None else "2m",
        "CONF": ".",
        "LUA": str(ROOT / "lua"),
        "LUA_EXTRA": "",
        "LISTEN": f"{address}:{settings.http_port} backlog=4096",
        "STATUS_LISTEN": f"unix:{STATUS_SOCKET}",
        "MAX_BODY": str(settings.max_body),
        "RESOLVER": resolver(settings.broker_host),
        "TLS": f'lua_ssl_trusted_certificate "{settings.broker_ca or SYSTEM_CA}"; lua_ssl_verify_depth 3;'
        if settings.broker_tls
        else "",
        "EXTRA": "",
    }


def open_files() -> int:
    """Return how many files a worker may open: what the machine allows, within reason."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)


def resolver(host: str) -> str:
    """Return nginx's directive for the name server, where the broker's host is a name that needs one."""
    if re.fullmatch(r"[0-9.]+|\[?[0-9a-fA-F:]+\]?", host):
        return ""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        lines = []
    servers = [words[1] for words in map(str.split, lines) if words[:1] == ["nameserver"] and len(words) > 1]
    shown = [f"[{server}]" if ":" in server else server for server in servers]
    return f"resolver {' '.join(shown)};" if shown else ""


def modules() -> list[str]:
    """Return the modules to load: those of Debian's nginx; OpenResty has them built in."""
    for folder in MODULE_FOLDERS:
        if all((Path(folder) / name).exists() for name in MODULES):
            return [f"{folder}/{name}" for name in MODULES]
    return []


def workers(setting: str, cores: int) -> int:
    """Return the number of worker processes: `auto` leaves cores to the rest of the stack. Raises StackError."""
    if setting == "auto":
        return max(1, min(MAX_WORKERS, cores // 2))
    if not setting.isdigit() or setting == "0":
        raise StackError(f"nginx_workers is {setting!r}: it must be auto or a number")
    return int(setting)


def worker_user(folders: Folders) -> str:
    """Return whom the workers run as: nobody in particular unless we are root, and root where only root may read.

    Workers load Lua files and spool bodies, so the user must reach the checkout and the data folder.
    """
    if os.getuid() != 0:
        return ""
    reachable = all(open_to_all(path) for path in (ROOT / "lua", folders.nginx))
    for name in UNPRIVILEGED if reachable else ():
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return "root"


def open_to_all(path: Path) -> bool:
    """May everybody get to a folder and read it?"""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents) and bool(
        path.stat().st_mode & 0o005 == 0o005
    )
