#!/usr/bin/env bash
# Set up what is missing, then run every stage: ./run_all.sh [CONFIG] [--set a.b=v …]
set -euo pipefail
cd "$(dirname "$0")"
config=configs/digits.yaml
if [[ $# -gt 0 && $1 != -* ]]; then config=$1; shift; fi
[[ -f $config ]] || { echo "run_all.sh: $config: not found, expected a config file" >&2; exit 2; }
name=$(sed -n 's/^name: *\([A-Za-z0-9._-]*\).*/\1/p' "$config")
root=$(sed -n 's/^  root: *\([^ #]*\).*/\1/p' "$config")
extra=; [[ $name != elpv ]] || extra=examples

python=.venv/bin/python; [[ -x $python ]] || python=${PYTHON:-python3}
if ! "$python" -m pipeline.installed $extra; then
  [[ -x .venv/bin/pip ]] || "$python" -m venv .venv
  python=.venv/bin/python
  echo "installing into .venv; the first time takes some minutes"
  "$python" -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}"
fi
if [[ $name =~ ^(digits|elpv)$ && ! -f $root/train.csv ]]; then "$python" -m pipeline example "$name" --root "$root"; fi
exec "$python" -m pipeline run -c "$config" "$@"
