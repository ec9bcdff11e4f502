"""The stack's own nginx: its configuration, rendered from `nginx/`, and how it is started."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Iterator
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
        "TRON_QUEUE": settings.control_queue,
        "FUNCATRON_ROUTING": settings.routing,
        "FUNCATRON_REQUEST_TIMEOUT": str(settings.request_timeout),
        "FUNCATRON_MAX_BODY": str(settings.max_body),
        "FUNCATRON_MAX_MESSAGE": str(MAX_MESSAGE_BYTES),
        "FUNCATRON_MAX_WAITING": str(settings.max_waiting),
    }


def write(settings: Settings, folders: Folders) -> None:
    """Write the configuration, and make the folders that nginx wants."""
    user = worker_user(folders)
    temporary = folders.nginx / "tmp"
    temporary.mkdir(exist_ok=True)
    if user:
        shutil.chown(temporary, user)
    write_private(folders.nginx / "nginx.conf", render(settings, folders))


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
    """Return the values of the template's variables."""
    user = worker_user(folders)
    return {
        "USER": f"user {user};" if user else "",
        "LOAD_MODULES": "\n".join(f'load_module "{module}";' for module in modules()),
        "WORKERS": str(workers(settings.nginx_workers, len(os.sched_getaffinity(0)))),
        "LISTEN": f"[{settings.bind}]:{settings.http_port}"
        if ":" in settings.bind
        else f"{settings.bind}:{settings.http_port}",
        "LUA": str(ROOT / "lua"),
        "LOG": str(folders.log),
        "PREFIX": str(folders.nginx),
        "MAX_BODY": str(settings.max_body),
    }


def modules() -> Iterator[str]:
    """Yield the modules to load: those of Debian's nginx; OpenResty has them built in."""
    for name in MODULES:
        yield from (str(Path(folder) / name) for folder in MODULE_FOLDERS if (Path(folder) / name).exists())


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
