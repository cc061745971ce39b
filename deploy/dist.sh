#!/bin/sh
# Builds what a release publishes into target/dist: archive, Debian package, container image, checksums, SBOM, licences.
# Usage: deploy/dist.sh   (or make dist)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
export CARGO_TARGET_DIR="$target"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
machine=$(uname -m)
case $machine in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$machine ;; esac
dist=$target/dist
stage=$target/dist-stage
rm -rf "$dist" "$stage"
mkdir -p "$dist" "$stage"

# musl where its standard library is installed (rustup target add $machine-unknown-linux-musl); else glibc, linked
# statically: both run anywhere. CARGO_BUILD_JOBS bounds the cores.
musl=$machine-unknown-linux-musl
if rustc --print target-libdir --target "$musl" 2>/dev/null | xargs -r ls 2>/dev/null | grep -q libstd; then
    triple=$musl
else
    triple=$machine-unknown-linux-gnu
    echo "no standard library for $musl is installed: linking glibc statically" >&2
    export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
fi
binary=$target/$triple/distribution/pgweir
build() { # Further flags of rustc.
    RUSTFLAGS="${RUSTFLAGS:-} $1" cargo build --locked --profile distribution --target "$triple" -p pgweir
}

# The compiler is shown where pgweir is busy: a build that counts is put under each load of the benchmarks. What reads
# its counts must not be older than LLVM's format for them (Debian: apt install llvm-19; rustup component add llvm-tools).
profile=$target/dist-profile
rm -rf "$profile" "$profile.profdata"
newest_profdata() {
    ls "$(rustc --print sysroot)"/lib/rustlib/"$machine"-*/bin/llvm-profdata 2>/dev/null && return
    ls /usr/bin/llvm-profdata-* 2>/dev/null | sort -rV | head -1
}
profdata=$(newest_profdata)
learn() { # Any of it may be missing here: then the build goes on without.
    [ -n "$profdata" ] && command -v psql >/dev/null &&
        RUSTFLAGS='' cargo build --locked --release -p pgweir-benches &&
        build "-C profile-generate=$profile" &&
        LLVM_PROFILE_FILE="$profile/%p-%m.profraw" "$target/release/pgweir-benches" exercise --pgweir "$binary" &&
        "$profdata" merge -o "$profile.profdata" "$profile"
}
if learn; then
    build "-C profile-use=$profile.profdata"
else
    echo "not guided by a profile: PostgreSQL and a new enough llvm-profdata are needed" >&2
    build ""
fi

# Man pages and completions are the program's own.
mkdir -p "$stage/man" "$stage/completions"
"$binary" reference --form man --out "$stage/man"
for shell in bash zsh fish; do "$binary" reference --form "$shell" >"$stage/completions/pgweir.$shell"; done

# What it is made of: licences and a bill of materials, from cargo's own metadata.
cargo metadata --locked --format-version 1 --filter-platform "$triple" >"$stage/metadata.json"
python3 deploy/dist/materials.py "$stage/metadata.json" "$stage/THIRD-PARTY-LICENCES" "$dist/pgweir-$version-sbom.cdx.json"

# The archive.
name=pgweir-$version-linux-$arch
mkdir -p "$stage/$name"
cp "$binary" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$stage/THIRD-PARTY-LICENCES" "$stage/$name/"
cp -r "$stage/man" "$stage/completions" deploy/config deploy/systemd deploy/prometheus deploy/grafana "$stage/$name/"
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -czf "$dist/$name.tar.gz" "$name"

# The Debian package.
python3 deploy/dist/deb.py "$version" "$arch" "$binary" "$stage" "$dist"

# The container image, without an engine.
if command -v umoci >/dev/null && command -v skopeo >/dev/null; then
    deploy/dist/image.sh "$version" "$arch" "$binary" "$stage" "$dist"
else
    echo "no image: umoci and skopeo are needed (Debian: apt install umoci skopeo)" >&2
fi

(cd "$dist" && sha256sum ./* >SHA256SUMS)
ls -l "$dist"
