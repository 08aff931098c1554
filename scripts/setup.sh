#!/bin/sh
# Make .venv from nothing but Python 3.11 or newer. Called by `make setup`.
#
#   PYTHON=/path/to/python make setup     to choose the interpreter
set -eu
cd "$(dirname "$0")/.."

new_enough() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# 3.11 to 3.13 are the versions the locked wheels were tried on, so they come before newer ones.
python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$( (python3 --version || python --version) 2>/dev/null || echo "no Python at all")
    echo "Adaptive Journeys needs Python 3.11 or newer; here is ${PYTHON:-$found}." >&2
    echo "Install one, or name it: PYTHON=/path/to/python3.12 make setup" >&2
    exit 1
fi

# Debian and Ubuntu ship venv and ensurepip apart from Python.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "$python has no venv module. On Debian and Ubuntu: apt-get install python$version-venv" >&2
    exit 1
fi

# A copied or moved tree brings a .venv whose paths point elsewhere; only a new one works.
if [ -e .venv ] && ! grep -qsF "$(pwd -P)/.venv/bin/python" .venv/bin/pip; then
    rm -rf .venv
fi
[ -x .venv/bin/pip ] || "$python" -m venv .venv

echo "Installing $(grep -c '^[a-z].*==' requirements.txt requirements-dev.txt | awk -F: '{n += $2} END {print n}') pinned packages into .venv (about a minute) ..."
.venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check \
    --require-hashes --only-binary :all: -r requirements.txt -r requirements-dev.txt
# Our own packages: the build backend is in the lock, so this asks no index.
.venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check \
    --no-deps --no-build-isolation --editable .
touch .venv/.ready
echo "Ready: .venv/bin/journeys"
