"""The sample bundles: built once per content, deployed the first time that a stack comes up."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from funcatron.settings import Settings
from funcatron.stack.folders import Folders, StackError
from funcatron.stack.frontend import ROOT

if TYPE_CHECKING:
    from funcatron.client import Client

SAMPLES = ("hello", "petstore")
# what a build depends on besides the sample's own files
IGNORED = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
TIMEOUT = 60.0
Say = Callable[[str], None]


def deploy_once(settings: Settings, folders: Folders, say: Say) -> bool:
    """Deploy the samples unless that was done before, or something else was deployed; return whether it was done.

    A sample that was undeployed later does not come back.
    """
    if folders.deployed_marker.exists():
        return False
    from funcatron.client import Client

    begun = folders.samples / "begun"
    with Client.of(settings) as client:
        if begun.exists() or not client.deployments():
            begun.touch()
            for name in SAMPLES:
                deploy(client, built(name, folders, say))
                say(f"the sample {name} is deployed")
    folders.deployed_marker.touch()
    return True


def deploy(client: Client, bundle: Path) -> None:
    """Deploy a bundle and wait until it serves. Raises StackError when it does not."""
    stored = client.add_bundle(bundle)
    client.deploy(stored["name"], stored["sha"])
    done = client.wait(stored["name"], stored["sha"], TIMEOUT)
    if done["stage"] != "routed":
        raise StackError(
            f"the sample {done['name']} does not serve, it is {done['stage']}:"
            f" {done['error'] or done.get('detail') or 'no detail'}"
        )


def built(name: str, folders: Folders, say: Say) -> Path:
    """Return the bundle of a sample; it is built if its files, the Python or the builder have changed."""
    from funcatron import bundles

    source = ROOT / "examples" / "python" / name
    output = folders.samples / f"{name}-{digest(source)}.pex"
    if not output.exists():
        say(f"building the sample {name}")
        partial = output.with_suffix(".partial")
        bundles.build(source, partial)
        partial.replace(output)
    return output


def digest(source: Path) -> str:
    """Return a short digest of everything that a sample's bundle is made from."""
    parts = hashlib.sha256(sys.version.encode())
    for folder in (source, ROOT / "funcatron" / "bundles", ROOT / "funcatron" / "hosts" / "python"):
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not IGNORED & set(file.parts):
                parts.update(f"{file.relative_to(folder)}\0{file.stat().st_mode & 0o111}\0".encode())
                parts.update(hashlib.sha256(file.read_bytes()).digest())
    return parts.hexdigest()[:16]


def hint(settings: Settings) -> str:
    """Return what to try next, with the real addresses."""
    frontend = settings.frontend
    return f"""
Try:
  curl -i '{frontend}/hello/greet?name=Ada&times=2'
  curl -i -X POST -H 'Content-Type: application/json' -d '{{"name":"Rex","age":3}}' {frontend}/pets/1.0/pets
Then:
  .venv/bin/funcatron list                 what is deployed
  .venv/bin/funcatron status               how each part is
  .venv/bin/funcatron logs -f              what happens
  make down                                stop it all
Admin API: {settings.tron}   Logs: {settings.data / "log"}"""
