#!/bin/sh
# Makes the lock files of the scanners beside it: `python/*.txt` from `python/*.in`,
# and `go.mod` with `go.sum` in each folder of `go`.
#
# Versions that are already locked stay; pass `--upgrade`, or `--upgrade-package NAME`, to move the Python ones.
# A Go tool is moved by `go get -tool PACKAGE@VERSION` in its folder.
# Nothing is ever built: a Python package without a wheel is refused.
#
# usage: xtask/tools/compile.sh [OPTION OF uv pip compile]...
set -eu

uv=${UV:-uv}
go=${GO:-go}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd -- "$here"

for input in python/*.in; do
    "$uv" pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-build \
        --custom-compile-command "xtask/tools/compile.sh" \
        --output-file "${input%.in}.txt" "$@" "$input"
done

for module in go/*/go.mod; do
    (cd -- "${module%/go.mod}" && "$go" mod tidy)
done
