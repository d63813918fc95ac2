#!/usr/bin/env bash
# Set up what is missing, then run every check; arguments go to pytest: bash tests/run.sh [-k NAME …]
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python; [[ -x $python ]] || python=${PYTHON:-python3}
if ! "$python" -m pipeline.installed dev examples; then
  [[ -x .venv/bin/pip ]] || "$python" -m venv .venv
  python=.venv/bin/python
  echo "installing into .venv; the first time takes some minutes"
  "$python" -m pip install --quiet --disable-pip-version-check -e ".[dev,examples]"
fi

# The models of the tests are tiny: one thread each is fastest, and waiting threads must not spin.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
timed() { local start=$SECONDS; echo "== $*"; "$python" -m "$@"; echo "== $((SECONDS - start)) s"; }
timed ruff check .
timed ruff format --check .
timed mypy
# A file's tests share what they train, so a file stays with one process.
exec "$python" -m pytest -n auto --dist loadfile "$@"
