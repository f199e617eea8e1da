#!/usr/bin/env bash
# Tests and measures this project on a GPU, PyTorch beside it if it is there, and writes a table.
#
#   benches/gpu.sh [--device vulkan|cuda|wgpu] [--bin FOLDER] [--run 'LOADER --library-path LIB'] [--minutes 8]
#                  [--out FOLDER] [--small]
#
# FOLDER of --bin has two programs, so that the machine with the GPU needs no Rust:
#   gpu_parity   the test `gpu`:          cargo test -p clipseg $FEATURES --test gpu --no-run
#   gpu_speed    the example `gpu_speed`: cargo build -p clipseg $FEATURES --example gpu_speed
# with FEATURES='--no-default-features --features allocator,autotune,scenes,vulkan'. Without --bin both are built
# here. --run starts them through a loader and libraries that were carried along; the test reads tests/fixtures
# beside this folder.
#
# The parts run one after the other, each with a share of the minutes; what a part leaves over goes to the later
# ones. A part that fails or is stopped is named below the table, and the others run. The result is
# OUT/table.md, the measurements are in OUT/measured.tsv, and the output of each part is in OUT/logs.
#
# Burn tunes its kernels when it first uses them, for minutes. Here it tries as few as it can, with the settings
# in OUT/cubecl.toml, unless CUBECL_AUTOTUNE_LEVEL asks for another level.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
device=vulkan bin="" run="" minutes=8 out="" small=""
while [ $# -gt 0 ]; do
  case $1 in
    --device | --bin | --run | --minutes | --out)
      if [ $# -lt 2 ]; then echo "$1: expected a value" >&2; exit 2; fi
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --small) small=--small; shift ;;
    *) echo "$1: unknown; the head of $0 lists the options" >&2; exit 2 ;;
  esac
done
if ! [[ $minutes =~ ^[1-9][0-9]*$ ]]; then echo "--minutes $minutes: expected a whole number from 1" >&2; exit 2; fi
out=${out:-$here/../target/gpu/$device}
if [ -e "$out/table.md" ]; then echo "--out $out: has a table.md already; name another folder" >&2; exit 2; fi
mkdir -p "$out/logs" || exit 2
out=$(cd "$out" && pwd)

if [ -z "$bin" ]; then
  features=(--no-default-features --features "allocator,autotune,scenes,${device%%:*}")
  cd "$here/.." || exit 2
  cargo build -p clipseg "${features[@]}" --example gpu_speed || exit 1
  test_program=$(cargo test -p clipseg "${features[@]}" --test gpu --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
  bin=$out/bin
  mkdir -p "$bin"
  cp "$test_program" "$bin/gpu_parity" || exit 1
  cp "${CARGO_TARGET_DIR:-target}/debug/examples/gpu_speed" "$bin/gpu_speed" || exit 1
fi
bin=$(cd "$bin" && pwd) || exit 2
for program in gpu_parity gpu_speed; do
  if [ ! -f "$bin/$program" ]; then echo "--bin $bin: has no $program" >&2; exit 2; fi
done
# A relative loader means one below the folder that this was started in.
read -ra loader <<< "$run"
for index in "${!loader[@]}"; do
  if [[ ${loader[index]} != -* && -e ${loader[index]} ]]; then loader[index]=$(realpath "${loader[index]}"); fi
done

export CLIPSEG_FIXTURES=$here/../tests/fixtures CLIPSEG_TEST_DEVICE=$device
level=${CUBECL_AUTOTUNE_LEVEL:-minimal}
if [ -z "${CUBECL_AUTOTUNE_LEVEL:-}" ]; then
  export CUBECL_AUTOTUNE_LEVEL=minimal
  printf '%s\n' '[autotune]' 'level = "minimal"' '[autotune.bench]' 'min_samples = 1' 'max_samples = 2' \
    'short_circuit_samples = 1' 'speed_factor = 1.0' > "$out/cubecl.toml"
fi
measured=$out/measured.tsv
failures=$out/failures.txt
: > "$measured"
: > "$failures"
cd "$out" || exit 2

# Name, share of the time, command.
names=() shares=() commands=()
part() { names+=("$1") shares+=("$2") commands+=("$3"); }
ours="${loader[*]@Q} ${bin@Q}/gpu_speed --device ${device@Q} $small"
part parity 2 "${loader[*]@Q} ${bin@Q}/gpu_parity"
part inference-f32 3 "$ours inference --precision f32"
part inference-f16 3 "$ours inference --precision f16"
part decoder 2 "$ours decoder"
part training 2 "$ours training"
part pretraining 3 "$ours pretraining"
torch=$(python3 -c 'import torch, transformers
print("PyTorch", torch.__version__ + ", transformers", transformers.__version__ + ",",
      torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")' 2> /dev/null | tail -n 1)
if [ -n "$torch" ] && { [[ $torch != *"no GPU" ]] || [ -n "$small" ]; }; then
  part torch-eager 1 "python3 ${here@Q}/gpu.py eager $small"
  part torch-compiled 2 "python3 ${here@Q}/gpu.py compiled $small"
fi

started=$SECONDS
for index in "${!names[@]}"; do
  name=${names[index]}
  left=$((60 * minutes - (SECONDS - started)))
  sum=0
  for share in "${shares[@]:index}"; do sum=$((sum + share)); done
  limit=$((left * shares[index] / sum))
  if [ "$limit" -lt 1 ]; then
    echo "$name: not run, the $minutes minutes were over" | tee -a "$failures"
    continue
  fi
  echo "$name: at most $limit s"
  began=$SECONDS
  log=$out/logs/$name
  timeout -k 5 "$limit" bash -c "${commands[index]}" > "$log.out" 2> "$log.err"
  status=$?
  spent=$((SECONDS - began))
  if [ "$name" = parity ]; then
    tested=$(grep -c '^ok: ' "$log.out")
  else
    cat "$log.out" >> "$measured"
  fi
  case $status in
    0) echo "  done in $spent s" ;;
    124 | 137) echo "$name: stopped after its share of $limit s; rows that are missing were not reached" | tee -a "$failures" ;;
    *) echo "$name: failed with status $status after $spent s: $(grep -v '^note: ' "$log.err" | tail -n 1 | cut -c 1-300)" | tee -a "$failures" ;;
  esac
done

{
  echo "$(date -u +%Y-%m-%d), device \`$device\`, $minutes minutes in all, autotune level \`$level\`${small:+, small sizes}"
  if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  fi
  grep '^on ' "$out/logs/parity.out"
  echo "${torch:-PyTorch with transformers was not found}"
  echo
  echo "Tests against the reference values: ${tested:-0} of 6 comparisons passed."
  echo
  echo "| who | work | precision | pictures | prompts | first result, s | later ones, median ms | ms for each picture | runs |"
  echo "|---|---|---|--:|--:|--:|--:|--:|--:|"
  sort -s -t $'\t' -k 2,2 -k 4,4n -k 5,5n -k 3,3 "$measured" | awk -F '\t' -v OFS=' | ' \
    '{ print "| " $1, $2, $3, $4, $5, $6, $7, sprintf("%.2f", $7 / $4), $8 " |" }'
  if [ -s "$failures" ]; then
    printf '\nNot complete:\n\n'
    sed 's/^/- /' "$failures"
  fi
} > "$out/table.md"
cat "$out/table.md"
[ ! -s "$failures" ]
