#!/bin/sh
# Writes the container image in the OCI layout, without a container engine.
# Usage: image.sh VERSION ARCH BINARY STAGE DIST
set -eu
version=$1 arch=$2 binary=$3 stage=$4 dist=$5
layout=$stage/oci
bundle=$stage/bundle
rm -rf "$layout" "$bundle"
umoci init --layout "$layout"
umoci new --image "$layout:$version"
umoci unpack --rootless --image "$layout:$version" "$bundle"
rootfs=$bundle/rootfs
mkdir -p "$rootfs/etc/pgweir" "$rootfs/etc/ssl/certs" "$rootfs/usr/share/doc/pgweir" "$rootfs/tmp"
chmod 1777 "$rootfs/tmp"
install -m 755 "$binary" "$rootfs/pgweir"
# Traces that go to https:// want the public authorities.
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$rootfs/etc/ssl/certs/"
echo 'pgweir:x:65532:65532::/nonexistent:/' >"$rootfs/etc/passwd"
cp LICENSE-MIT LICENSE-APACHE "$stage/THIRD-PARTY-LICENCES" "$rootfs/usr/share/doc/pgweir/"
umoci repack --image "$layout:$version" "$bundle"
umoci config --image "$layout:$version" \
    --config.user 65532:65532 --config.entrypoint /pgweir --config.cmd run \
    --config.exposedports 6432/tcp --config.exposedports 16432/tcp \
    --config.env PGWEIR_CONFIG=/etc/pgweir/pgweir.toml --config.env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    --config.label org.opencontainers.image.title=pgweir \
    --config.label org.opencontainers.image.version="$version" \
    --config.label org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    --config.label org.opencontainers.image.source=https://github.com/pgweir/pgweir \
    --os linux --architecture "$arch"
skopeo copy --quiet "oci:$layout:$version" "oci-archive:$dist/pgweir-$version-oci-$arch.tar:pgweir:$version"
