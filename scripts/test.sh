#!/usr/bin/env bash
# Install into .venv (once) and run the tests. Arguments go to pytest: bash scripts/test.sh --slow -k golden
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist loadscope "$@"
