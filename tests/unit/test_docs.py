"""The docs name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from funcatron.settings import Settings

ROOT = Path(__file__).parents[2]


def test_every_setting_is_in_the_table() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    missing = [name for name in Settings.model_fields if f"| `{name}` |" not in page]
    assert not missing


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
