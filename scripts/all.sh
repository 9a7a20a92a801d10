#!/usr/bin/env bash
# Tables 1 to 3, nothing scored twice; at the end some pairs of each score file are scored again and compared. Flags go to run.py:
# --data-root DIR --weights-dir DIR --device cuda -sdir DIR ... METHODS="dinov1 psnr": only these rows. VERIFY: how many pairs (default 2; 0: none).
# PYTHON names the interpreter (default: python).
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/../run.py" --table all --verify "${VERIFY:-2}" ${METHODS:+-m $METHODS} "$@" < /dev/null
