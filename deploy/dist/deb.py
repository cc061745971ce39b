#!/usr/bin/env python3
"""The Debian package: laid out, then built by dpkg-deb.

Usage: deb.py VERSION ARCH BINARY STAGE DIST
"""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CONTROL = """\
Package: pgweir
Version: {version}-1
Architecture: {arch}
Maintainer: The pgweir contributors <pgweir@users.noreply.github.com>
Installed-Size: {size}
Depends: adduser
Recommends: postgresql-client, ca-certificates
Section: database
Priority: optional
Homepage: https://github.com/pgweir/pgweir
Vcs-Git: https://github.com/pgweir/pgweir.git
Description: PostgreSQL proxy that splits writes and reads
 pgweir stands in front of a PostgreSQL primary and its streaming replicas, at
 one host and port. Writes and transactions run on the primary; statements that
 are proved read-only run on replicas that are fresh enough. Connections are
 pooled; failovers are followed.
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pgweir
Source: https://github.com/pgweir/pgweir

Files: *
Copyright: 2026, The pgweir contributors
License: MIT or Apache-2.0

License: MIT
{mit}

License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0,
 and beside this file.
Comment:
 The licences of the libraries that the program is linked with are in
 THIRD-PARTY-LICENCES.gz.
"""


def compressed(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    # No name and no time in it: the same input gives the same file.
    with open(target, "wb") as out, gzip.GzipFile("", "wb", 9, out, 0) as packed:
        packed.write(Path(source).read_bytes())


def install(source, target, mode=0o644):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def lay_out(package, stage, binary):
    share, doc = package / "usr/share", package / "usr/share/doc/pgweir"
    install(binary, package / "usr/bin/pgweir", 0o755)
    install(ROOT / "deploy/config/pgweir.toml", package / "etc/pgweir/pgweir.toml", 0o640)
    # The file in /etc names its schema; editors look there.
    install(ROOT / "deploy/config/pgweir.schema.json", share / "pgweir/pgweir.schema.json")
    config = package / "etc/pgweir/pgweir.toml"
    schema = "file:///usr/share/pgweir/pgweir.schema.json"
    config.write_text(config.read_text().replace("./pgweir.schema.json", schema))
    install(ROOT / "deploy/config/pgweir-role.sql", share / "pgweir/pgweir-role.sql")
    for unit in ("pgweir.service", "pgweir.socket"):
        install(ROOT / "deploy/systemd" / unit, package / "lib/systemd/system" / unit)
    for rules in ("alerts.yml", "recording.yml"):
        install(ROOT / "deploy/prometheus" / rules, share / "pgweir/prometheus" / rules)
    for board in (ROOT / "deploy/grafana/dashboards").glob("*.json"):
        install(board, share / "pgweir/grafana" / board.name)
    for page in (stage / "man").glob("*.1"):
        compressed(page, share / "man/man1" / (page.name + ".gz"))
    completions = stage / "completions"
    install(completions / "pgweir.bash", share / "bash-completion/completions/pgweir")
    install(completions / "pgweir.zsh", share / "zsh/vendor-completions/_pgweir")
    install(completions / "pgweir.fish", share / "fish/vendor_completions.d/pgweir.fish")
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.png")]:
        if page.name != "SUMMARY.md":
            install(page, doc / page.name)
    install(ROOT / "LICENSE-APACHE", doc / "LICENSE-APACHE")
    install(ROOT / "LICENSE-MIT", doc / "LICENSE-MIT")
    compressed(ROOT / "CHANGELOG.md", doc / "changelog.gz")
    compressed(stage / "THIRD-PARTY-LICENCES", doc / "THIRD-PARTY-LICENCES.gz")
    mit = (ROOT / "LICENSE-MIT").read_text().strip().splitlines()
    text = "\n".join(" " + (line or ".") for line in mit)
    (doc / "copyright").write_text(COPYRIGHT.format(mit=text))


def main():
    version, arch, binary, stage, dist = sys.argv[1:]
    stage, package = Path(stage), Path(stage) / "deb"
    shutil.rmtree(package, ignore_errors=True)
    os.umask(0o022)
    lay_out(package, stage, binary)
    size = sum(f.stat().st_size for f in package.rglob("*") if f.is_file()) // 1024
    control = package / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(CONTROL.format(version=version, arch=arch, size=size))
    (control / "conffiles").write_text("/etc/pgweir/pgweir.toml\n")
    for script in ("postinst", "prerm", "postrm"):
        install(ROOT / "deploy/debian" / script, control / script, 0o755)
    target = Path(dist) / f"pgweir_{version}-1_{arch}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", package, target], check=True)


if __name__ == "__main__":
    main()
