#!/usr/bin/env bash
# Compiles the extension and installs the package, editable, into $VENV.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$(date +%s)
echo "Building paradigm._core ..."
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-build-isolation -c "constraints/$PINS.txt" --editable .
earlier=$(cat "$VENV/.setup_seconds" 2>/dev/null || echo 0)
echo $((earlier + $(date +%s) - started)) >"$VENV/.setup_seconds"
