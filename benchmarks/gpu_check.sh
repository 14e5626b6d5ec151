#!/usr/bin/env bash
# Builds the package with what the machine has (no network), runs the tests marked gpu, then the benchmarks on the GPU.
# Results go to $OUT (default: benchmarks/results). Cheapest first, so that a run that is cut short still tells something.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results}
mkdir -p "$out"
command -v nvidia-smi >/dev/null && nvidia-smi -L || { echo "gpu-check needs an NVIDIA GPU; nvidia-smi finds none." >&2; exit 1; }
python3 -m pip install --quiet --no-build-isolation --no-deps --editable . || exit 1
python3 -m pytest -m gpu -q --timeout=240 2>&1 | tee "$out/gpu-tests.log"
status=${PIPESTATUS[0]}
python3 -m benchmarks linear policy_loss rollouts train_step --device cuda --quick --out "$out" 2>&1 | tee "$out/gpu-benchmarks.log"
exit "$status"
