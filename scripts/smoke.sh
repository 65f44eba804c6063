#!/bin/sh
# The name that hands know: does a running backend work? `scripts/smoke.sh staging`, or `--url http://127.0.0.1:8000`.
set -eu
cd -- "$(dirname -- "$0")/.."
exec cargo xtask smoke "$@"
