"""The docs name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from funcatron.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_table_has_a_row_for_every_setting_as_the_settings_say_it() -> None:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{name}` | {default} | {field.description} |")
    page = (ROOT / "docs" / "operating.md").read_text().splitlines()
    assert [row for row in rows if row not in page] == []


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
