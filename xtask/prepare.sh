#!/bin/sh
# Makes sure that a build can start: cargo and a compiler that is new enough, and a C compiler for the embedded database.
# Installs the C compiler where it may (root on a Debian system); says what is missing otherwise, and what a first build
# costs. What make was asked for is its argument.
set -eu

wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml")

if ! command -v cargo >/dev/null 2>&1; then
    # rustup puts cargo here and changes PATH for later shells only.
    if [ -x "$HOME/.cargo/bin/cargo" ]; then
        echo "cargo is in $HOME/.cargo/bin but not in PATH: run '. \"$HOME/.cargo/env\"' and try again" >&2
    else
        echo "cargo is missing: install Rust $wanted or newer (https://rustup.rs) and try again" >&2
    fi
    exit 1
fi

# Cargo says it, too, but only after it has fetched every crate, and once for each of ours.
found=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9][0-9.]*\).*/\1/p')
if [ "$(printf '%s\n' "$wanted" "${found:-0}" | sort -V | head -n 1)" != "$wanted" ]; then
    echo "the Rust toolchain is ${found:-not to be found}, and $wanted or newer is needed: with rustup, run" \
        "'rustup update stable' and try again (Debian's packages may be older)" >&2
    exit 1
fi

if ! command -v cc >/dev/null 2>&1; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "a C compiler is missing: install gcc and the C library's headers" \
            "(on Debian, as root: apt-get install gcc libc6-dev) and try again" >&2
        exit 1
    fi
    echo "installing a C compiler (gcc, libc6-dev)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install --yes --no-install-recommends gcc libc6-dev >/dev/null 2>&1 || {
        apt-get update
        apt-get install --yes --no-install-recommends gcc libc6-dev
    }
fi

# The load generator measures what is built for release.
case "${1:-run}" in
    bench) profile=release ;;
    *) profile=debug ;;
esac
target=${CARGO_TARGET_DIR:-target}
if [ ! -d "$target/$profile" ]; then
    echo "the first build: several hundred crates are fetched and compiled, which takes many minutes (with two" \
        "cores a quarter of an hour or more) and several GB in $target; later builds compile only what has changed"
    place=$target
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    free=$(df -Pk "$place" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }')
    if [ "${free:-8192}" -lt 8192 ]; then
        echo "warning: $target has $free MB left on its disk, which may be too little" >&2
    fi
fi
