"""What the README tells to type works, to the letter, against a private stack on other ports."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import PrivateStack, running

ROOT = Path(__file__).parents[2]
# what starts or stops the stack, follows logs for ever, or is this very test
NOT_HERE = re.compile(r"make( |$)|git clone|cd |.*funcatron (up|down|logs -f|logs --follow)")
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return the command lines of a page's shell blocks: no prompts, no remarks, continued lines joined."""
    lines: list[str] = []
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#\s.*$", "", line.strip().removeprefix("$ "))
            if command and not command.startswith("#"):
                lines.append(command)
    return lines


@pytest.fixture(scope="module")
def desk() -> Iterator[tuple[PrivateStack, Path]]:
    """A stack as `make up` leaves it, and a folder that looks like the checkout to type in."""
    with tempfile.TemporaryDirectory(prefix="fn-readme-") as folder:
        here = Path(folder)
        here.chmod(0o755)
        for name in ("examples", "tests"):
            shutil.copytree(ROOT / name, here / name, ignore=shutil.ignore_patterns("__pycache__"))
        (here / ".venv").symlink_to(ROOT / ".venv")
        with running(here / "var") as stack:
            up = subprocess.run(
                [".venv/bin/funcatron", "up"],
                cwd=here,
                env=stack.environment(),
                capture_output=True,
                text=True,
                timeout=200,
            )
            assert up.returncode == 0, up.stdout + up.stderr + stack.logs()
            assert stack.url in up.stdout
            yield stack, here


def test_the_readme_has_commands_and_begins_with_make_up() -> None:
    typed = commands((ROOT / "README.md").read_text())
    assert "make up" in typed[:3]
    assert any(line.startswith("curl") for line in typed)


def test_every_command_of_the_readme_works(desk: tuple[PrivateStack, Path]) -> None:
    stack, here = desk
    typed = [line for line in commands((ROOT / "README.md").read_text()) if not NOT_HERE.match(line)]
    assert typed
    for line in typed:
        moved = line.replace("127.0.0.1:8080", stack.url.removeprefix("http://"))
        moved = moved.replace("127.0.0.1:3000", stack.admin.removeprefix("http://"))
        if moved.startswith("curl "):
            moved = moved.replace("curl ", "curl --fail-with-body --silent --show-error ", 1)
        answer = subprocess.run(
            ["sh", "-c", moved], cwd=here, env=stack.environment(), capture_output=True, text=True, timeout=120
        )
        assert answer.returncode == 0, f"{line}\n{answer.stdout}\n{answer.stderr}"


def test_what_make_up_promises_to_curl_answers(desk: tuple[PrivateStack, Path]) -> None:
    stack, here = desk
    up = subprocess.run(
        [".venv/bin/funcatron", "up"], cwd=here, env=stack.environment(), capture_output=True, text=True, timeout=60
    )
    offered = [line.strip() for line in up.stdout.splitlines() if line.strip().startswith("curl ")]
    assert len(offered) == 2
    for line in offered:
        answer = subprocess.run(["sh", "-c", f"{line} -s --fail"], capture_output=True, text=True, timeout=30)
        assert answer.returncode == 0, f"{line}\n{answer.stdout}\n{answer.stderr}"
        assert "x-request-id" in answer.stdout.lower()


def test_the_originals_way_to_deploy_works(desk: tuple[PrivateStack, Path]) -> None:
    """wget --post-file, then …/enable, as its scripts did."""
    stack, here = desk
    script = f"""
set -e
.venv/bin/funcatron bundle examples/python/hello -o again.pex
wget -q -O stored.json --post-file=again.pex {stack.admin}/api/v1/add_func
sha=$(.venv/bin/python -c 'import json; print(json.load(open("stored.json"))["sha"])')
wget -q -O - --post-data="{{\\"sha\\": \\"$sha\\", \\"props\\": {{}}}}" {stack.admin}/api/v1/enable
"""
    answer = subprocess.run(
        ["sh", "-c", script], cwd=here, env=stack.environment(), capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert '"success": true' in answer.stdout
