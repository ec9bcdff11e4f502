#!/bin/sh
# All linters and type checks; goes on after the first that complains, and fails if any did.
set -u
cd "$(dirname "$0")/.."
bad=0
check() {
    printf '== %s\n' "$*"
    "$@" || bad=1
}
check .venv/bin/ruff check .
check .venv/bin/ruff format --check .
check .venv/bin/mypy
check luacheck --quiet lua tests/lua
exit $bad
