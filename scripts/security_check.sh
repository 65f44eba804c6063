#!/bin/sh
# The name that hands know: every security check is a gate, and `cargo xtask scan` runs them all.
set -eu
cd -- "$(dirname -- "$0")/.."
exec cargo xtask scan "$@"
