#!/bin/sh
# The name that hands know: every lint is a hook, and `cargo xtask pre-commit` runs them all.
set -eu
cd -- "$(dirname -- "$0")/.."
exec cargo xtask pre-commit "$@"
