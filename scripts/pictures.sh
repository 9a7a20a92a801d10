#!/usr/bin/env bash
# Makes the pictures of the README and of docs/, docs/images/*.png, from the embedded photographs, with real weights and without a
# download. Prints each command and what it prints. PYTHON names the interpreter (default: python).
set -eu
[ $# -eq 0 ] || { echo "pictures.sh: error: expected no arguments, found $*; it says at its top what it does" >&2; exit 2; }
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

show() {   # a script of this project and its arguments
    echo "\$ python $*"
    "${PYTHON:-python}" "$home/$1" "${@:2}" < /dev/null
    echo
}

show scripts/examples.py examples
pair=(-ref examples/damage/astronaut.png -dis)
show run_single_img.py "${pair[@]}" examples/damage/blur.png -m st_vgg16 -d l2 --map examples/map-blur.png --map-layers
show run_single_img.py "${pair[@]}" examples/damage/blocks.png -m st_vgg16 -d cos --protocol corrected --map examples/map-blocks.png
show run_single_img.py "${pair[@]}" examples/damage/shift.png -m st_vgg16 -d l2 --map examples/map-shift.png
show run_single_img.py "${pair[@]}" examples/damage/blocks.png -m psnr --map examples/map-psnr.png
show run_single_img.py -ref examples/codecs/originals -dis examples/codecs/jpeg examples/codecs/webp examples/codecs/jp2k -m psnr -o scores.csv
show run_single_img.py --manifest examples/codecs/pairs.csv -m psnr --curve examples/rate-distortion.png
show run.py -dat demo -m psnr --plot
show run_single_img.py "${pair[@]}" examples/damage/blocks.png -m psnr --calibrate results/demo_psnr.csv
show scripts/aligned.py -pct 0.25 0.5 1 2 3 --picture examples/aligned.png
cp examples/*.png results/demo_psnr.png "$home/docs/images/"
