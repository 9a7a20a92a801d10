#!/usr/bin/env bash
# The main job on photographs that come with a dependency: scores demo, plain and shifted by a hundredth of its width, and prints
# the correlations, each as soon as it is there. Nothing is downloaded. Flags go to run.py and win over those here, so
#
#   bash scripts/demo.sh -rob none tra sca rot      also dilated and rotated: twice the work
#   bash scripts/demo.sh -m dinov1 -d l2 cos        the paper's method; its weights (343 MB) are downloaded, and it takes minutes
#
# PYTHON names the interpreter (default: python). The exit code is that of run.py.
set -u
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
exec "${PYTHON:-python}" "$home/run.py" -dat demo -m psnr msssim fsim stlpips_alex st_alexnet -d l2 cos -rob none tra "$@"
