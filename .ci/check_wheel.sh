#!/usr/bin/env bash
# Prove the wheel: built from the sdist, installed in a clean environment, used from elsewhere.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Either would put the checkout before the wheel.
unset PYTHONPATH PYTHONHOME

echo "-- build: the sdist, and the wheel from it"
"$python" -m build --no-isolation --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; exit 1; }
wheel=$(echo "$work"/dist/*.whl)

echo "-- contents of $(basename "$wheel")"
"$python" - "$wheel" <<'PYTHON'
import sys
from zipfile import ZipFile

names = ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names}
stray = sorted(top for top in tops if top != "graphrec" and not top.endswith(".dist-info"))
if stray:
    sys.exit(f"the wheel would squat top-level names: {stray}")
for folder, ending in (("blocks", ".yaml"), ("recipes", ".yaml"), ("schemas", ".json")):
    prefix = f"graphrec/_shipped/{folder}/"
    count = sum(name.startswith(prefix) and name.endswith(ending) for name in names)
    print(f"   {prefix}*{ending}: {count}")
    if not count:
        sys.exit(f"the wheel has no {ending} file in {prefix}")
PYTHON

echo "-- install it in a clean environment"
"$python" -m venv --without-pip "$work/venv"
clean=$work/venv/bin/python
site=$("$clean" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# pip of .venv installs into the other environment.
"$python" -m pip --disable-pip-version-check --python "$clean" install -q --no-deps --no-index "$wheel"
# The dependencies are borrowed, not installed again. A path that comes from a .pth file is searched
# last, and its own .pth files (the editable install of the checkout) are not read.
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/borrowed.pth"

mkdir "$work/elsewhere"
cd "$work/elsewhere"
"$clean" -W error - "$site" "$root" <<'PYTHON'
import sys
from pathlib import Path

import graphrec

site, root = (Path(argument).resolve() for argument in sys.argv[1:])
found = Path(graphrec.__file__).resolve()
if not found.is_relative_to(site):
    sys.exit(f"graphrec comes from {found}, not from the wheel in {site}")
if str(root) in sys.path:
    sys.exit(f"the checkout {root} is on sys.path")
print(f"   graphrec {graphrec.__version__} from the wheel")
PYTHON

echo "-- use it from another directory"
graphrec=$work/venv/bin/graphrec
"$graphrec" recipes | tee "$work/recipes.txt"
grep -qw deepfm "$work/recipes.txt" || { echo "graphrec recipes does not list deepfm"; exit 1; }
"$graphrec" compile deepfm -O model.py
"$clean" -c 'import model'
echo "-- the wheel works"
