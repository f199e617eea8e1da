#!/usr/bin/env bash
# Compares the speed of this project with PyTorch and ONNX Runtime on this machine, and prints the ratios.
#
#   benches/compare.sh [--rounds 9] [--threads 2] [--only TEXT] [--without-rivals]
#
# The rivals are installed into a virtual environment of their own, target/compare/venv, or one that
# CLIPSEG_COMPARE_PYTHON names is used. The checkpoint, with random weights, is made in target/compare.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}/compare
mkdir -p "$folder"
python=${CLIPSEG_COMPARE_PYTHON:-$folder/venv/bin/python}
if [ -z "${CLIPSEG_COMPARE_PYTHON:-}" ] && [ ! -x "$python" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --requirement benches/requirements.txt
fi
cargo build -p clipseg-benches --example compare
exec "$python" benches/compare.py "$folder" "${CARGO_TARGET_DIR:-target}/debug/examples/compare" "$@"
