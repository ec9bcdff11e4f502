#!/bin/sh
# Linters, then every test with coverage; goes on after a linter that complains, and fails in the end. Arguments go to pytest.
# Tests that are left out fail the run, unless their reason starts with "machine:" (then it is shown): tests/conftest.py.
set -u
cd "$(dirname "$0")/.."
status=0
scripts/lint.sh || status=1
rm -f .coverage .coverage.*
.venv/bin/coverage run -m pytest "$@" || status=1
.venv/bin/coverage combine --quiet
.venv/bin/coverage report
[ "$status" = 0 ] || echo "make test: failed (above: linters, then tests)" >&2
exit "$status"
