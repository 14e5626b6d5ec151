#!/usr/bin/env bash
# Compiles the extension and installs the package, editable, into $VENV; what it depends on is installed apart.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "Building paradigm._core ..."
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
