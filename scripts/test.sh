#!/bin/sh
# Linters, then every test with coverage. Arguments go to pytest.
# Left-out tests fail the run, unless their reason starts with "machine:" (then it is shown); see tests/conftest.py.
set -eu
cd "$(dirname "$0")/.."
scripts/lint.sh
rm -f .coverage .coverage.*
status=0
.venv/bin/coverage run -m pytest "$@" || status=$?
.venv/bin/coverage combine --quiet
.venv/bin/coverage report --skip-covered || true
exit $status
