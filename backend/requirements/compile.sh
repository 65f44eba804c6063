#!/bin/sh
# Writes the locked requirement files beside it from ../pyproject.toml.
#
# Each file is universal (one text for every platform and for Python 3.10 and newer) and holds hashes.
# `tools.txt` is resolved first and binds the others, so that a package has one version in all of them.
# Versions that are already locked stay; pass `--upgrade`, or `--upgrade-package NAME`, to move them.
# Nothing is ever built: a package without a wheel is refused.
#
# usage: backend/requirements/compile.sh [OPTION OF uv pip compile]...
set -eu

uv=${UV:-uv}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd -- "$here/.."

compile() {
    target=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-build \
        --custom-compile-command "backend/requirements/compile.sh" \
        --output-file "requirements/$target.txt" "$@"
}

compile tools pyproject.toml --group tests --group tools "$@"
compile tests pyproject.toml --group tests --constraint requirements/tools.txt "$@"
compile runtime pyproject.toml --constraint requirements/tools.txt "$@"
compile image --group image --constraint requirements/tools.txt "$@"
compile docs --group docs --constraint requirements/tools.txt "$@"
