#!/bin/sh
# Makes sure that a build can start: cargo, and a C compiler for the embedded database.
# Installs the compiler where it may (root on a Debian system); says what is missing otherwise.
set -eu

if ! command -v cargo >/dev/null 2>&1; then
    # rustup puts cargo here and changes PATH for later shells only.
    if [ -x "$HOME/.cargo/bin/cargo" ]; then
        echo "cargo is in $HOME/.cargo/bin but not in PATH: run '. \"$HOME/.cargo/env\"' and try again" >&2
    else
        echo "cargo is missing: install Rust 1.95 or newer and try again" >&2
    fi
    exit 1
fi

if command -v cc >/dev/null 2>&1; then
    exit 0
fi

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
