#!/usr/bin/env bash
# Tables 1 to 3, nothing scored twice. Flags go to run.py; see tables.sh.
exec bash "$(dirname "${BASH_SOURCE[0]}")/tables.sh" all "$@"
