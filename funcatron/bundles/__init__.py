"""Func bundles: recognising them by their content, and building those of Python."""

from __future__ import annotations

from funcatron.bundles.build import build
from funcatron.bundles.recognise import SPEC_NAMES, Bundle, recognise

__all__ = ["SPEC_NAMES", "Bundle", "build", "recognise"]
