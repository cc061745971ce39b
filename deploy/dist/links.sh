#!/bin/sh
# Prints a page with the links that lead out of the book made absolute.
# Usage: links.sh PAGE PREFIX   PREFIX: docs/ for a page at the repository's root, ../ for one in docs/
set -eu
home=https://github.com/pgweir/pgweir/blob/main
case $2 in
docs/) # what is in docs/ is in the book; what is not, in the repository
    sed -E -e 's#\]\(docs/([^)]*)\)#](\1)#g' -e 's#\]\(docs\)#](SUMMARY.md)#g' \
        -e "s#\]\((deploy|benches|ARCHITECTURE|CONTRIBUTING|LICENSE)([^)]*)\)#]($home/\1\2)#g" "$1" ;;
*) sed -E -e "s#\]\(\.\./([^)]*)\)#]($home/\1)#g" "$1" ;;
esac
