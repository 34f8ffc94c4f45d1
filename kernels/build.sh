#!/usr/bin/env bash
# Compiles the kernels with CUDA's nvcc (13.0 or later, on the PATH).
#   kernels/build.sh         kernels/llama.fatbin and kernels/manifest: what the program embeds
#   kernels/build.sh check   compiles the same to target/ only: the sources are sound
#   kernels/build.sh gate    target/gate: measures variants of the matrix products on this machine
set -euo pipefail
cd "$(dirname "$0")"
flags=(-std=c++17 -O3 --expt-relaxed-constexpr -Werror all-warnings -Xptxas -v)
log=../target/kernels.log
mkdir -p ../target
if [ "${1:-}" = gate ]; then
  nvcc "${flags[@]}" -gencode arch=compute_90a,code=sm_90a -cudart static -o ../target/gate gate.cu > "$log" 2>&1 ||
    { grep -v '^ptxas info' "$log" >&2; exit 1; }
else
  # Machine code for Ampere (and Ada, which runs it) and Hopper; PTX for what comes later.
  to=llama.fatbin
  [ "${1:-}" = check ] && to=../target/llama.fatbin
  nvcc "${flags[@]}" -fatbin --compress-mode=size -o "$to" \
    -gencode arch=compute_80,code=[sm_80,compute_80] \
    -gencode arch=compute_90a,code=sm_90a llama.cu > "$log" 2>&1 ||
    { grep -v '^ptxas info' "$log" >&2; exit 1; }
  [ "${1:-}" = check ] || sha256sum llama.cu ./*.cuh llama.fatbin | sed 's| \./| |' | sort -k 2 > manifest
fi
# Registers, spills and shared memory of each kernel are in target/kernels.log. A few spilled
# registers are allowed: narrow kernels fill all 128, and the gate times them as they are.
if [ "${1:-}" != gate ] && grep -E '[1-9][0-9]{2,} bytes (stack frame|spill)' "$log"; then
  echo "a kernel uses local memory: see target/kernels.log" >&2
  exit 1
fi
