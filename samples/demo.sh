#!/usr/bin/env bash
# The main job, start to end, on the sample detector: `make demo` runs it. Writes to demo/ only.
# With the argument `all`, as `make demo-all` calls it: a Snapdragon's package and a language model as well.
set -euo pipefail
cd "$(dirname "$0")/.."
shapes=samples/shapes
photo=$shapes/eval/images/9002-0015.jpg
out=demo
export EDGEKIT_STORE=$out/profiles.sqlite EDGEKIT_CACHE=$out/cache
mkdir -p $out
[ "${1:-}" = all ] || echo "The demo takes two to three minutes on two cores; first results come after some seconds."

step() { printf '\n$ edgekit %s\n' "$*"; edgekit "$@"; }

# --allow: go on where 8 bits do not pay; --force: so that it can be run again
step convert $shapes/shapes.safetensors --eval $shapes/eval -o $out --force
step detect $out/shapes-cpu-fp32 $photo --save $out
step convert $shapes/shapes.safetensors -t cpu -t tflite -p fp32 -p w8a8 \
    --calibration $shapes/calibration --eval $shapes/eval -o $out --allow slower --allow accuracy --force
packages=($out/shapes-cpu-fp32 $out/shapes-cpu-w8a8 $out/shapes-tflite-fp32 $out/shapes-tflite-w8a8)
step verify "${packages[@]}"
step detect $out/shapes-tflite-w8a8 $photo --save $out
step profile "${packages[@]}" -d local --launches 5
step report "${packages[@]}" -o $out/report.html

if [ "${1:-}" = all ]; then
    step compare $out/shapes-tflite-w8a8 $out/shapes-cpu-w8a8 --launches 5
    step profile $out/shapes-tflite-w8a8 --ops
    if [ "$(uname -sm)" = "Linux x86_64" ]; then  # where Qualcomm's simulator runs
        step convert $shapes/shapes.safetensors -t snapdragon-8-elite -p fp16 \
            --eval $shapes/eval --simulated-images 4 -o $out --allow accuracy --force
        step detect $out/shapes-snapdragon-8-elite-fp16 $photo -d sim:htp
        packages+=($out/shapes-snapdragon-8-elite-fp16)
    fi
    relief=samples/relief
    step convert $relief/model --name relief -p fp32 -p ternary --eval $relief/heldout.txt -o $out \
        --allow slower --allow accuracy --force
    step generate $out/relief-cpu-ternary -n 24 --chat \
        -p "[1] The clinic at Harrow School opens at 08:00 [1]. It closes at 18:30 [1].

When does the clinic at Harrow School open?"
    step report "${packages[@]}" -o $out/report.html
    step report $out/relief-cpu-fp32 $out/relief-cpu-ternary -o $out/relief.html
fi

printf '\npackages:  %s\n' "$PWD/$out"
printf 'picture:   %s\nreport:    %s\n' "$PWD/$out/9002-0015-boxes.jpg" "$PWD/$out/report.html (open it in a browser)"
