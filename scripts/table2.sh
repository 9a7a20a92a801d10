#!/usr/bin/env bash
# Table 2: distances between features, LIVE and TID2013. Flags go to run.py; see tables.sh.
exec bash "$(dirname "${BASH_SOURCE[0]}")/tables.sh" 2 "$@"
