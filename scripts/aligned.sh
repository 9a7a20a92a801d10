#!/usr/bin/env bash
# SRCC under none tra sca rot, plain and with --align similarity: by default of demo with psnr msssim fsim stlpips_alex
# st_alexnet_cos. Flags go to aligned.py: -dat tid2013 -m fsim dinov1_cos --data-root DIR --weights-dir DIR -sdir DIR ...
# PYTHON names the interpreter (default: python).
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/aligned.py" "$@" < /dev/null
