#!/usr/bin/env bash
# Table 3: every metric on PIPAL. Flags go to run.py; see tables.sh.
exec bash "$(dirname "${BASH_SOURCE[0]}")/tables.sh" 3 "$@"
