#!/usr/bin/env bash
# Makes HTML of the pages, into build/doc. Whatever Asciidoctor objects to is a failure:
# --verbose has it look at references too, and tell them as INFO.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../test/support/setup.sh"

need asciidoctor ruby-rouge
cd "$root"
asciidoctor --verbose --failure-level=INFO --destination-dir build/doc doc/*.adoc
echo "The pages are in $root/build/doc; begin with index.html."
