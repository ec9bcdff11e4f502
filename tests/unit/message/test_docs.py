"""What docs/messages.md shows are messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from funcatron.message import parse

PAGE = (Path(__file__).parents[3] / "docs" / "messages.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_follows_its_schema(example: str) -> None:
    assert parse(example.encode()).version == 1
