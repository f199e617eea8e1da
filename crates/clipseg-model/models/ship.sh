#!/usr/bin/env bash
# Puts the model of a finished run into `scenes`: exports it in half precision, keeps the configurations of both
# runs, draws the picture of the README, and tests the result.
#
#   crates/clipseg-model/models/ship.sh PRETRAINING DECODER
#
# PRETRAINING is the folder of a run of `clipseg pretrain`, DECODER that of a run of `clipseg train` on its CLIP.
# CARGO and CLIPSEG name other programs than `cargo` and that of this checkout. PYTHON names an interpreter with
# the packages of tests/fixtures/make/requirements.txt; without it, the reference values are not computed anew.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
pretraining=$(cd "${1:?expected the folder of the pre-training run}" && pwd)
decoder=$(cd "${2:?expected the folder of the decoder run}" && pwd)
cd "$root"
read -ra cargo <<< "${CARGO:-cargo}"
read -ra clipseg <<< "${CLIPSEG:-${cargo[*]} run --quiet --package clipseg --bin clipseg --}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${clipseg[@]}" export --model "$decoder/model" --out "$work/scenes" --license mit
# The card in the repository has more to say than the exported one.
rm "$work/scenes/README.md"
mkdir -p "$here/scenes"
cp "$work/scenes/"* "$here/scenes/"
# Names of folders on this machine are left out: train.sh names them.
grep -v '^checkpoint = ' "$pretraining/config.toml" > "$here/pretrain.toml"
grep -v '^checkpoint = ' "$decoder/config.toml" > "$here/decoder.toml"
size=$(cat "$here/scenes/"* | wc -c)
echo "the model has $size bytes"
if [ "$size" -ge 8000000 ]; then
  echo "expected less than 8,000,000 bytes" >&2
  exit 1
fi

rm -f docs/segmentation.jpg
"${cargo[@]}" run --quiet --package clipseg --example sheet -- docs/scene.jpg \
  "red heart" tree "black cup" "orange square" --out docs/segmentation.jpg
if [ -n "${PYTHON:-}" ]; then
  "$PYTHON" tests/fixtures/make --out tests/fixtures shipped
else
  echo "PYTHON is not set: tests/fixtures/shipped is not computed anew" >&2
fi
"${cargo[@]}" test --quiet --package clipseg --test workspace -- shipped
if grep -n FIGURE README.md "$here/scenes/README.md"; then
  echo "these lines lack a figure" >&2
  exit 1
fi
