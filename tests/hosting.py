"""PEX files made in a moment, and a host that runs one: for tests of bundles and Func hosts."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import textwrap
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from funcatron.hosts import Answer, Host, Limits, User, driver
from funcatron.hosts.python.driver import prepare

SPEC = 'swagger: "2.0"\ninfo: {title: t, version: "1"}\npaths: {}\n'
WAIT = 20.0  # the longest wait of a test for something that takes milliseconds, s


def write_pex(path: Path, files: Mapping[str, str | bytes], info: Mapping[str, Any] | None = None) -> Path:
    """Write a PEX: a zip with PEX-INFO, a spec and `files`. Those ending in .py are dedented."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pex:
        pex.writestr("PEX-INFO", json.dumps({"distributions": {}, "interpreter_constraints": [], **(info or {})}))
        pex.writestr("__main__.py", "raise SystemExit('never run')")
        for name, content in {"funcatron.yaml": SPEC, **files}.items():
            pex.writestr(name, textwrap.dedent(content) if isinstance(content, str) else content)
    return path


Params = Mapping[str, Any] | None


def _settle(future: asyncio.Future[Answer | None], answer: Answer | None) -> None:
    if not future.done():
        future.set_result(answer)


class Bench:
    """One host of a bundle that has the module `app`; collects its log lines and its exit."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.exits: list[int | None] = []
        self.exited = asyncio.Event()
        self.lined = asyncio.Event()
        self.host: Host

    def on_log(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        self.lined.set()

    def on_exit(self, host: Host, code: int | None) -> None:
        self.exits.append(code)
        self.exited.set()

    def send(self, function: str, params: Params = None, **more: Any) -> asyncio.Future[Answer | None]:
        """Send a call of `app.FUNCTION`; `more` are keys of the frame, with `body` the raw bytes, `context` over it."""
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        header, body = self.frame(function, params, more)
        number = self.host.call(header, body, partial(_settle, future))
        future.number = number  # type: ignore[attr-defined]
        return future

    @staticmethod
    def frame(function: str, params: Params, more: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        body = more.pop("body", b"")
        context = {"request-id": f"id-{function}", "method": "GET", "path": "/x", "headers": {}}
        context.update(more.pop("context", {}))
        keys = {name.replace("_", "-"): value for name, value in more.items()}
        return {"operation": f"app.{function}", "params": dict(params or {}), "context": context, **keys}, body

    async def call(self, function: str, params: Params = None, **more: Any) -> Answer:
        answer = await asyncio.wait_for(self.send(function, params, **more), WAIT)
        assert answer is not None, f"the host died: {self.lines}"
        return answer

    async def until(self, seen: Callable[[], Any], seconds: float = WAIT) -> None:
        """Wait until `seen` is true, looking whenever a log line comes."""
        async with asyncio.timeout(seconds):
            while not seen():
                self.lined.clear()
                await self.lined.wait()

    def messages(self, request_id: str | None = None) -> list[str]:
        return [line["message"] for line in self.lines if request_id is None or line.get("request-id") == request_id]


def operations(code: str, given: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """An operation for each public function at the top of `code`."""
    import ast

    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in ast.parse(textwrap.dedent(code)).body if isinstance(node, kinds)]
    extra = given or {}
    return [
        {"id": f"app.{name}", "method": "get", "path": f"/{name}", "produces": [], **extra.get(name, {})}
        for name in [*names, *(name for name in extra if name not in names)]
        if not name.startswith("_")
    ]


@asynccontextmanager
async def hosting(
    code: str,
    *,
    specs: Mapping[str, Mapping[str, Any]] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    checkers: list[str] | None = None,
    concurrency: int = 8,
    limits: Limits | None = None,
    user: User | None = None,
    props: Mapping[str, Any] | None = None,
) -> AsyncIterator[Bench]:
    """Run a host of a bundle whose module `app` is `code`; `specs` adds keys to operations, or operations."""
    bench = Bench()
    with tempfile.TemporaryDirectory(prefix="funcatron-test-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        folder = Path(name)
        bundle = write_pex(folder / "bundle.pex", {"app.py": code, **(files or {})})
        prepared = await asyncio.to_thread(prepare, bundle, folder / "cache" / "unpacked")
        load = {
            "sha": "0123456789abcdef",
            "operations": operations(code, specs),
            "checkers": checkers or [],
            "props": props or {},
            "settings": {"concurrency": concurrency},
        }
        bench.host = await Host.start(
            driver("python"),
            prepared,
            load,
            on_log=bench.on_log,
            on_exit=bench.on_exit,
            limits=limits,
            user=user,
            run=folder,
        )
        try:
            yield bench
        finally:
            bench.host.kill()
            await asyncio.wait_for(bench.exited.wait(), WAIT)
