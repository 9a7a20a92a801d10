#!/usr/bin/env bash
# Table 1: embeddings against features, cosine distance, TID2013 and PIPAL. Scores what is missing and prints the table beside the published numbers.
# Flags go to run.py: --data-root DIR --weights-dir DIR --device cuda --limit 100 -sdir DIR ... METHODS="dinov1 psnr": only these rows.
# PYTHON names the interpreter (default: python).
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/../run.py" --table 1 ${METHODS:+-m $METHODS} "$@" < /dev/null
