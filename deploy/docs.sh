#!/bin/sh
# Builds the book of docs/ with search, into target/book. mdBook is fetched from crates.io once.
# Usage: deploy/docs.sh   (or make docs)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/docs-tools
version=0.4.52

mdbook=$(command -v mdbook || true)
if [ -z "$mdbook" ]; then
    mdbook=$tools/bin/mdbook
    [ -x "$mdbook" ] || CARGO_TARGET_DIR=$tools/build cargo install mdbook --version $version --locked \
        --no-default-features --features search --root "$tools"
fi

# The pages as they are, with README and CHANGELOG beside them, and links that lead out of docs/ made absolute.
src=$target/book-src
rm -rf "$src"
mkdir -p "$src"
cp "$root"/docs/*.md "$root"/docs/*.png "$src/"
"$root/deploy/dist/links.sh" "$root/README.md" docs/ >"$src/README.md"
cp "$root/CHANGELOG.md" "$src/"
for page in "$src"/*.md; do
    case $page in */README.md | */CHANGELOG.md | */SUMMARY.md) continue ;; esac
    "$root/deploy/dist/links.sh" "$page" ../ >"$page.new"
    mv "$page.new" "$page"
done
cp "$root/docs/book/book.toml" "$target/book.toml"

"$mdbook" build --dest-dir "$target/book" "$target"
[ -s "$target/book/index.html" ] && ls "$target"/book/searchindex*.js* >/dev/null
echo "file://$target/book/index.html"
