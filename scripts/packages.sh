#!/usr/bin/env bash
# Installs torch and the other pinned packages into $VENV.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf '\nparadigm: %s\n' "$*" >&2; exit 1; }

constraints=constraints/$PINS.txt
requirement=${TORCH:-$(grep '^torch==' "$constraints")}
# bytecode of all of torch takes longer to make than all the rest; what we import gets its own below
pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile)
if [ -n "${TORCH:-}" ] || ! "$VENV/bin/python" -c 'import torch' 2>/dev/null; then
  echo "Installing $requirement into $VENV ..."
  if [ "$PINS" = gpu ] || [ "$(uname -s)" = Darwin ]; then
    "${pip[@]}" "$requirement"
  else
    # the CPU build: from torch's own index, or from whatever this machine's pip is set up with
    "${pip[@]}" --retries 1 --index-url "$TORCH_INDEX" "$requirement" 2>/dev/null || "${pip[@]}" "$requirement" \
      || fail "could not install $requirement. Name an index (make TORCH_INDEX=...) or a requirement (make TORCH=...)."
  fi
fi
grep -v '^torch==' "$constraints" | "${pip[@]}" -r /dev/stdin
env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" -c 'import jinja2, msgspec, numpy, rich.progress, rich.table, safetensors.torch, tokenizers, torch._dynamo, torch.distributed.fsdp'
