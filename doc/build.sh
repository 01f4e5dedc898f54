#!/usr/bin/env bash
# Whatever Asciidoctor objects to is a failure: --verbose has it look at references too, and
# tell them as INFO.
set -euo pipefail

usage="Usage: doc/build.sh [--help]

Installs what is missing (Debian 12), and makes HTML of the pages, into build/doc.
"

while (($#)); do
    case $1 in
        --help) printf '%s' "$usage"; exit 0 ;;
        *) printf 'Unknown argument: %s\n\n%s' "$1" "$usage" >&2; exit 2 ;;
    esac
done

source "$(dirname "${BASH_SOURCE[0]}")/../test/support/setup.sh"

need asciidoctor ruby-rouge
cd "$root"
asciidoctor --verbose --failure-level=INFO --destination-dir build/doc doc/*.adoc
echo "The pages are in $root/build/doc; begin with index.html."
