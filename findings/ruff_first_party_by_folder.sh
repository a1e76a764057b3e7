#!/usr/bin/env bash
# ruff 0.17.6: with no configuration at all, whether a file passes `ruff check` depends on the
# directory one stands in. Its default rules include I001 (sorted imports), and a module counts as
# first-party when a folder of its name lies in the working directory: the same file, given by its
# absolute path, under --isolated, passes in one directory and fails in another.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q ruff==0.17.6
"$work/venv/bin/ruff" --version
mkdir -p "$work/file" "$work/empty" "$work/beside/apples"
touch "$work/beside/apples/__init__.py"
printf 'import apples\nimport zebra\n\nprint(apples, zebra)\n' > "$work/file/model.py"
verdict() { (cd "$1" && "$work/venv/bin/ruff" check --isolated --no-cache -q "$work/file/model.py" >/dev/null && echo passes || echo fails); }
empty=$(verdict "$work/empty") beside=$(verdict "$work/beside")
echo "from an empty directory: $empty; from a directory with a folder apples/: $beside"
[ "$empty" = passes ] && [ "$beside" = fails ]
