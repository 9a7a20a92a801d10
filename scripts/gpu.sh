#!/usr/bin/env bash
# What only a CUDA device can show, in one command that begins nothing more after 8 minutes (scripts/gpu.py says what):
#
#   bash scripts/gpu.sh                      seeded random weights; needs nothing but the requirements
#   bash scripts/gpu.sh --weights-dir DIR    with these weights
#   bash scripts/gpu.sh --rehearse           every part on a CPU with small networks; measures nothing of a GPU
#
# Writes docs/gpu.json and the table of docs/speed.md, on a GPU alone. PYTHON names the interpreter (default: python). The
# exit code is 0 if every check held.
set -u
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
exec "${PYTHON:-python}" "$home/scripts/gpu.py" "$@"
