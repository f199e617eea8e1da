#!/usr/bin/env bash
# Makes the model `scenes` from a random seed and from nothing else: pre-trains a CLIP on generated scenes,
# trains a decoder on the frozen CLIP, and puts both into this folder. A stopped run continues.
#
#   crates/clipseg-model/models/train.sh RUNS [FLAG…]
#
# RUNS is the folder of both runs. Flags such as `--device vulkan` are for both. CLIPSEG names another program
# than that of this checkout.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
runs=${1:?expected a folder for the runs}
shift
read -ra clipseg <<< "${CLIPSEG:-cargo run --quiet --package clipseg --bin clipseg --}"

"${clipseg[@]}" pretrain --config "$here/pretrain.toml" --out "$runs/clip" --resume "$@"
"${clipseg[@]}" train --config "$here/decoder.toml" --clip "$runs/clip/model" --out "$runs/decoder" --resume "$@"
"$here/ship.sh" "$runs/clip" "$runs/decoder"
