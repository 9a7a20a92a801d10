#!/usr/bin/env bash
# Table 1: embeddings against features, cosine distance, TID2013 and PIPAL. Flags go to run.py; see tables.sh.
exec bash "$(dirname "${BASH_SOURCE[0]}")/tables.sh" 1 "$@"
