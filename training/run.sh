#!/usr/bin/env bash
# Makes the model in the box from nothing: vocabulary, conversations, training, export.
#
#     training/run.sh                  # a machine with a GPU: 23 million parameters, 20 minutes
#     DEVICE=cpu training/run.sh       # two CPU cores: 5 million parameters, 2 hours
#
# Needs cargo and python3 with what requirements.txt names. MINUTES, OUT, WORK (a folder for
# everything in between) and WORKERS may be set; GENERATE and VOCABULARY name a generator that is
# built and a vocabulary that is made already. Arguments are passed on to train.py.
set -euo pipefail
cd "$(dirname "$0")/.."

device=${DEVICE:-cuda}
work=${WORK:-target/training}
out=${OUT:-models/calculator.gguf}
vocabulary=${VOCABULARY:-$work/vocabulary.gguf}
generate=${GENERATE:-target/release/generate}
cores=$(nproc)
workers=${WORKERS:-$((cores > 2 ? cores / 2 : 1))}
mkdir -p "$work" "$(dirname "$out")"

if [ -z "${GENERATE:-}" ]; then
    cargo build --release --features training --bin generate
fi
if [ -z "${VOCABULARY:-}" ]; then
    "$generate" paper --seed 1 --count 30000 | python3 training/vocabulary.py "$vocabulary" --size 2048
fi

if [ "$device" = cpu ]; then
    shape=(--layers 6 --width 256 --heads 4 --kv-heads 2 --hidden 704 --tokens 8192)
    minutes=${MINUTES:-120}
    count=512
else
    shape=(--layers 8 --width 512 --heads 8 --kv-heads 2 --hidden 1344 --tokens 65536)
    minutes=${MINUTES:-20}
    count=4096
fi
python3 training/train.py --device "$device" "${shape[@]}" --minutes "$minutes" --seed 1 \
    --generator "$generate shard --vocabulary $vocabulary --seed {seed} --count $count --out {out}" \
    --workers "$workers" --spool "$(mktemp -d)" --out "$work/model.pt" "$@"

python3 training/export.py "$work/model.pt" "$vocabulary" "$out" --prompts-sha256 "$("$generate" hash)"
ls -l "$out"
