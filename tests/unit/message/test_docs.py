"""What docs/messages.md shows are messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from funcatron.message import ACTIONS, parse

PAGE = (Path(__file__).parents[3] / "docs" / "messages.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_has_an_example_of_each_message() -> None:
    assert {json.loads(example)["action"] for example in EXAMPLES} == ACTIONS


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_follows_its_schema(example: str) -> None:
    assert parse(example.encode()).version == 1


def test_the_front_end_is_short_and_python() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    compile(code, "front end", "exec")
    assert len(code.splitlines()) <= 25
