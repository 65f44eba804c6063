#!/bin/sh
# Makes a stand-in for the Python base image of backend/Dockerfile, for machines that cannot pull the real one:
# a minimal system of this machine's own Debian, with this machine's own CPython in /usr/local.
#
# It has a name of its own, so that it is never taken for the real one. Where it is there already, nothing is done;
# --again makes it anew. It needs root, debootstrap, a Debian mirror, and a CPython that was built here (pyenv's are).
#
# usage: scripts/stand-in-base.sh [--again] [MAJOR.MINOR]
set -eu

again=
if [ "${1:-}" = --again ]; then
    again=yes
    shift
fi
version=${1:-3.12}
name=localhost/forge-base-stand-in:$version

fail() {
    echo "stand-in-base: $1" >&2
    exit 1
}

for engine in docker podman none; do
    if "$engine" version >/dev/null 2>&1; then break; fi
done
[ "$engine" != none ] || fail "neither docker nor podman answers"

if [ -z "$again" ] && "$engine" image inspect "$name" >/dev/null 2>&1; then
    echo "$name is there ($engine)"
    exit 0
fi

[ "$(id -u)" = 0 ] || fail "debootstrap needs root: run it with sudo"
command -v debootstrap >/dev/null || fail "debootstrap is not here: apt-get install debootstrap"

# Where a CPython of that version lies: its prefix, and nothing of an environment around it.
probe='import sys; print(sys.base_prefix if sys.version_info[:2] == tuple(map(int, sys.argv[1].split("."))) else "")'
prefix=
for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
    prefix=$("$python" -I -c "$probe" "$version" 2>/dev/null) || prefix=
    # The distribution's own does not fit into /usr/local.
    case $prefix in '' | /usr) prefix= ;; *) break ;; esac
done
[ -n "$prefix" ] || fail "no CPython $version outside of /usr is here: pyenv install $version"

of_system() { sed -n "s/^$1=\"*\([a-z]*\)\"*$/\1/p" /etc/os-release; }
[ "$(of_system ID)" = debian ] || fail "this system is not Debian"
suite=$(of_system VERSION_CODENAME)
# The words in brackets are apt's own.
mirror=${MIRROR:-$(apt-get indextargets --format "\$(SITE) \$(RELEASE)" 'Created-By: Packages' | awk -v s="$suite" '$2 == s { print $1; exit }')}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
root=$scratch/root

# The packages of the shared libraries that this CPython and its modules are linked against.
libraries=$(find "$prefix/bin" "$prefix/lib" -type f \( -name '*.so*' -o -name 'python*' \) -exec ldd {} + 2>/dev/null |
    awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u)
packages=ca-certificates
for library in $libraries; do
    case $library in "$prefix"/*) continue ;; esac
    # A system whose /lib is a link knows its files by either name.
    owner=$(dpkg-query --search "$library" 2>/dev/null || dpkg-query --search "/usr$library" 2>/dev/null ||
        dpkg-query --search "${library#/usr}" 2>/dev/null) || fail "no package owns $library"
    packages=$packages,${owner%%:*}
done
# Windows are not part of it, neither here nor in the real one.
packages=$(echo "$packages" | tr , '\n' | sort -u | grep -Ev '^(libx|libtcl|libtk|libfont|libfreetype|libpng|libbrotli|libbsd|libmd)' | paste -sd,)

echo "making $name of Debian $suite and $prefix"
debootstrap --variant=minbase --include="$packages" "$suite" "$root" ${mirror:+"$mirror"} >"$scratch/log" 2>&1 || {
    tail -n 5 "$scratch/log" >&2
    fail "debootstrap failed"
}
tar -C "$prefix" -cf - --exclude=site-packages --exclude=test --exclude=tkinter --exclude=idlelib --exclude=turtledemo \
    --exclude=__pycache__ --exclude='*.a' --exclude='_tkinter*' --exclude=pkgconfig --exclude=man bin lib |
    tar -C "$root/usr/local" --no-same-owner -xf -
find "$root/usr/local/bin" -mindepth 1 ! -name 'python*' -delete
find "$root/usr/local/bin" -name '*-config' -delete
ln -sf "python$version" "$root/usr/local/bin/python3"
ln -sf python3 "$root/usr/local/bin/python"
chroot "$root" ldconfig
# As in the real one: pip alone, without its cache.
chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin python3 -I -m ensurepip --root-user-action=ignore >>"$scratch/log" 2>&1 ||
    chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin python3 -I -m ensurepip >>"$scratch/log" 2>&1 ||
    fail "pip cannot be installed in it"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/doc/* "$root"/usr/share/man/*
find "$root/usr/local" -name __pycache__ -prune -exec rm -rf {} +

tar -C "$root" --sort=name -cf "$scratch/base.tar" .
# It has its name only once it works: what is there under it is taken for good.
image=$("$engine" import \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["python3"]' --message "stand-in for python:$version-slim" "$scratch/base.tar")
if ! "$engine" run --rm --network none "$image" python3 -c 'import bz2, ctypes, lzma, sqlite3, ssl, zlib'; then
    "$engine" image rm --force "$image" >/dev/null
    fail "its Python does not work"
fi
"$engine" tag "$image" "$name"
echo "$name is there ($engine)"
