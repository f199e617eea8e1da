#!/usr/bin/env bash
# Makes the pictures of docs/segmenting.md: what `clipseg segment` writes for docs/scene.jpg with each option.
#
#   docs/segmenting.sh
#
# CLIPSEG names another program than that of this checkout.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
read -ra clipseg <<< "${CLIPSEG:-cargo run --quiet --package clipseg --bin clipseg --}"
pictures=docs/segmenting
rm -rf "$pictures"
mkdir -p "$pictures"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# picture NAME RESULT OPTION…: keeps one result of a run as NAME.png.
picture() {
  local name=$1 result=$2
  shift 2
  rm -rf "$work/out"
  "${clipseg[@]}" segment docs/scene.jpg --model scenes --prompt tree --prompt "red heart" \
    --out "$work/out" "$@" > /dev/null
  cp "$work/out/scene-$result.png" "$pictures/$name.png"
}

picture heat 1-tree-heat
picture mask 1-tree-mask
picture negative 1-tree-mask --negative "orange square"
picture threshold 1-tree-mask --threshold 0.1
picture size 1-tree-mask --size 256
picture tiles 1-tree-mask --tiles 2
picture flip 1-tree-mask --flip
picture dense 1-tree-mask --method dense --background ground
picture refine-guided 1-tree-mask --refine guided
picture refine-pamr 1-tree-mask --refine pamr
picture fill-holes 1-tree-mask --fill-holes
picture min-area 1-tree-mask --min-area 2000
picture grow 1-tree-mask --grow 12
picture shrink 1-tree-mask --shrink 8
picture feather 1-tree-mask --feather 24
picture cutout 1-tree-cutout --cutout --refine guided --fill-holes
picture labels labels-colour --labels
picture combine c1-1-or-2-mask --combine "1 | 2"
picture probabilities 1-tree-probabilities --probabilities png16

size=$(cat "$pictures"/* | wc -c)
echo "$(ls "$pictures" | wc -l) pictures, $size bytes"
if [ "$size" -ge 600000 ]; then
  echo "expected less than 600,000 bytes" >&2
  exit 1
fi
