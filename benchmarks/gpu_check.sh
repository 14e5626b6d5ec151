#!/usr/bin/env bash
# Builds the package with what the machine has (no network), runs the tests marked gpu, then the benchmarks on the GPU: the most important
# first, and each with a limit in seconds, 9 minutes in all. A benchmark writes its record case by case, so one that is cut short still tells
# something. Results go to $OUT (default: benchmarks/results).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results}
mkdir -p "$out"
command -v nvidia-smi >/dev/null && nvidia-smi -L || { echo "gpu-check needs an NVIDIA GPU; nvidia-smi finds none." >&2; exit 1; }
log="$out/gpu-check.log"
: >"$log"
failed=()

step() {
    local limit=$1 name=$2
    shift 2
    echo "== $name, at most $limit s" | tee -a "$log"
    timeout --kill-after=5 "$limit" "$@" 2>&1 | tee -a "$log"
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed+=("$name ($status)")
}
measure() { step "$1" "$2" python3 -m benchmarks "$2" --device cuda --out "$out" "${@:3}"; }

step 40 install python3 -m pip install --quiet --no-build-isolation --no-deps --editable .
python3 -c "import xdist" 2>/dev/null && side_by_side=(-n 8) || side_by_side=()  # most of a test's time is its kernels' compilation
step 180 tests python3 -m pytest -m gpu tests/kernels tests/test_cuda_backend.py tests/test_device_step.py tests/test_learner_gpu.py --timeout=120 "${side_by_side[@]}"
measure 45 linear
measure 60 policy_loss
measure 60 attention
measure 30 paged_attention
measure 30 elementwise
measure 25 sample_token
measure 40 train_step --quick  # which compiles ours
measure 25 rollouts --quick

[ ${#failed[@]} -eq 0 ] || echo "not done, or failed: ${failed[*]}" | tee -a "$log"
[[ ${#failed[@]} -eq 0 || "${failed[*]}" != *tests* && "${failed[*]}" != *install* ]]
