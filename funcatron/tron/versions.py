"""Finds the version of a deployment that somebody means by a SHA, or by how it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funcatron.errors import Conflict, NotFound
from funcatron.stores.records import SHA_DIGITS, BundleRecord, Deployment, Version
from funcatron.stores.registry import Registry
from funcatron.tron.routes import plain_host, plain_path
from funcatron.tron.splits import fits, unknown_sha


def version_of(bundle: BundleRecord, props: Mapping[str, Any], settings: Mapping[str, Any]) -> Version:
    """Return the version that runs a bundle with these properties and settings."""
    host, path = plain_host(bundle.host) or None, plain_path(bundle.base_path) or "/"
    return Version(bundle.sha, host, path, props, settings)


def serving(current: Deployment) -> Version:
    """Return what serves. Raises Conflict if nothing does."""
    if current.serving is None:
        raise Conflict(f"nothing serves {current.name} now (stage {current.stage}): deploy it first")
    return current.serving


def again(current: Deployment, version: Version) -> bool:
    """Tell whether a version's queue is served already, with other properties or settings."""
    return version.queue(current.name) in {one.queue(current.name) for one in current.versions()}


async def bundle(registry: Registry, sha: str) -> BundleRecord:
    """Return the bundle with this SHA. Raises NotFound."""
    found = await registry.bundle(sha)
    if found is None:
        raise NotFound(f"there is no bundle with the SHA {sha}")
    return found


async def earlier(registry: Registry, current: Deployment, sha: str | None) -> Version:
    """Return the version to go back to; that which serves, where no other one has this SHA.

    Raises NotFound that names the versions there are, Conflict where several fit.
    """
    try:
        return await registry.earlier(current.name, sha)
    except NotFound:
        fit = [version for version in current.versions() if sha is not None and fits(version.sha, sha)]
        if not fit:
            raise
        return fit[0]


async def shared(registry: Registry, current: Deployment, sha: str) -> Version:
    """Return the version that a share of a split is for: one that serves, else a stored bundle with the properties and
    settings of what serves. Raises NotFound that names the nearest SHAs, Conflict where several fit."""
    serve = [version for version in current.versions() if fits(version.sha, sha)]
    if len(serve) == 1:
        return serve[0]
    found = await registry.bundles(sha.lower()) if len(sha) >= SHA_DIGITS else []
    if len(found) > 1:
        raise Conflict(f"{sha!r} fits several bundles: give more digits of the SHA")
    if not found:
        known = [version.sha for version in current.versions()]
        known += [served.version.sha for served in await registry.versions(current.name)]
        raise unknown_sha("there is no bundle", sha, known)
    now = serving(current)
    return version_of(found[0], now.props, now.settings)
