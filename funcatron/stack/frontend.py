"""The stack's own nginx: its configuration, rendered from `nginx/`, and how it is started."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path
from string import Template

from funcatron.settings import Settings
from funcatron.stack.folders import Folders, StackError, write_private

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("nginx", "openresty")
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/openresty/nginx/sbin", "/usr/local/openresty/bin")
MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


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
    return (program(), "-p", f"{folders.nginx}/", "-c", str(folders.nginx / "nginx.conf"), "-e", "stderr", "-g", "daemon off;")


def environment(settings: Settings, password: str) -> dict[str, str]:
    return {}
def render(settings, folders):
    return ""
def write(settings, folders):
    pass
