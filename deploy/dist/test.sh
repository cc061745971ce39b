#!/bin/sh
# Tries what make dist has built: checksums, archive, image, and, as root on Debian, the package.
# Usage: deploy/dist/test.sh   (or make dist-test)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
dist=$target/dist
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
    echo "dist-test: $*" >&2
    exit 1
}

(cd "$dist" && sha256sum --check --quiet SHA256SUMS)

echo 'archive'
tar -C "$scratch" -xzf "$dist"/pgweir-*-linux-*.tar.gz
folder=$(echo "$scratch"/pgweir-*)
"$folder/pgweir" --version
for file in LICENSE-MIT LICENSE-APACHE THIRD-PARTY-LICENCES man/pgweir.1 completions/pgweir.bash; do
    [ -s "$folder/$file" ] || fail "no $file in the archive"
done
[ "$(stat -c %s "$folder/pgweir")" -lt 40000000 ] || fail 'the program is not stripped'
if ldd "$folder/pgweir" 2>&1 | grep -q '=>'; then fail 'the program needs shared libraries'; fi
echo 'cluster.nodes = ["127.0.0.1:5432"]' >"$scratch/pgweir.toml"
"$folder/pgweir" check --offline --config "$scratch/pgweir.toml"

echo 'bill of materials'
python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert d["bomFormat"] == "CycloneDX" and len(d["components"]) > 50' \
    "$dist"/pgweir-*-sbom.cdx.json

for image in "$dist"/pgweir-*-oci-*.tar; do
    [ -e "$image" ] || continue
    echo 'image'
    command -v umoci >/dev/null && command -v skopeo >/dev/null || fail 'umoci and skopeo are needed'
    skopeo copy --quiet "oci-archive:$image" "oci:$scratch/oci:test"
    umoci unpack --rootless --image "$scratch/oci:test" "$scratch/bundle"
    if [ "$(id -u)" = 0 ]; then
        chroot "$scratch/bundle/rootfs" /pgweir --version
    else
        "$scratch/bundle/rootfs/pgweir" --version
    fi
    grep -q '"/pgweir"' "$scratch/bundle/config.json" || fail 'the image does not start pgweir'
done

if [ "$(id -u)" = 0 ] && command -v dpkg >/dev/null && ! dpkg -s pgweir >/dev/null 2>&1; then
    echo 'package'
    deb=$(echo "$dist"/pgweir_*.deb)
    dpkg -i "$deb" >/dev/null || apt-get install -y -qq -f >/dev/null
    pgweir --version
    [ -e /usr/share/man/man1/pgweir.1.gz ] && [ -e /usr/share/bash-completion/completions/pgweir ] || fail 'no man page or completion'
    [ "$(stat -c '%U:%G %a' /etc/pgweir/pgweir.toml)" = 'root:pgweir 640' ] || fail 'the configuration is readable by others'
    echo '# mine' >>/etc/pgweir/pgweir.toml
    dpkg -i "$deb" >/dev/null
    tail -1 /etc/pgweir/pgweir.toml | grep -q mine || fail 'an upgrade has overwritten the configuration'
    dpkg -r pgweir >/dev/null
    [ -e /etc/pgweir/pgweir.toml ] || fail 'removing has purged'
    dpkg --purge pgweir >/dev/null
    [ ! -e /etc/pgweir ] || fail 'purging leaves /etc/pgweir'
    ! getent passwd pgweir >/dev/null || fail 'purging leaves the user'
else
    echo 'package: left out (needs root, dpkg, and no pgweir installed)'
fi
echo 'dist-test: good'
