"""The samples are what a newcomer sees first: their specs are fine, and their own tests pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from funcatron.bundles.build import check_spec

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"


@pytest.mark.parametrize("name", ["hello", "petstore"])
def test_the_spec_of_a_sample_is_fine(name: str) -> None:
    check_spec(EXAMPLES / name)


def test_the_smallest_sample_is_tested_without_anything_of_funcatron() -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", "."]
    done = subprocess.run(argv, cwd=EXAMPLES / "hello", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
