#!/usr/bin/env bash
# Makes the virtual environment $VENV with what the extension is built with. Says clearly what a machine lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf '\nparadigm: %s\n' "$*" >&2; exit 1; }
started=$(date +%s)

case "$(uname -s)" in Linux | Darwin) ;; *) fail "this runs on Linux and macOS (on Windows: inside WSL 2), not on $(uname -s)." ;; esac
command -v "$PYTHON" >/dev/null || fail "no '$PYTHON' found. Install Python 3.10 or later, or name it: make PYTHON=/path/to/python3 ..."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Python 3.10 or later is needed; '$PYTHON' is $("$PYTHON" -V 2>&1). Name another: make PYTHON=..."
command -v "${CXX:-g++}" >/dev/null || fail "no C++ compiler found. On Debian or Ubuntu: apt install g++ make"
"$PYTHON" -c 'import sysconfig, os, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' \
  || fail "Python's C headers are missing. On Debian or Ubuntu: apt install python3-dev"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV" || fail "could not make a virtual environment. On Debian or Ubuntu: apt install python3-venv"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c "constraints/$PINS.txt" -r constraints/build.txt
echo $(($(date +%s) - started)) >"$VENV/.base"
