#!/usr/bin/env bash
# torchrun takes options behind the script for its own. Its argparse looks for short forms in the whole
# command line before it hands the rest to the script, so a script's `--run` (or `--log`, `--master`) is
# "ambiguous", though everything behind the script's name is said to be the script's. Seen with torch
# 2.13.0, Python 3.11. It installs torch into a temporary folder.
# Expected: the script runs and prints its arguments. Seen: exit status 2, the script never starts;
# with an option that is no prefix of torchrun's it runs. Exit status 0 as long as that is so.
set -euo pipefail
# pip must be set up so that it takes the CPU build of torch; the script stops at another.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy
PYTHON="$work/venv/bin/python"
"$PYTHON" -c 'import torch; assert torch.version.cuda is None, "not the CPU build"'
folder=$work
echo 'import sys; print("script got", sys.argv[1:])' > "$folder/script.py"
run() { "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node 1 "$folder/script.py" "$@" 2>&1 || true; }
"$PYTHON" -c 'import torch; print("torch", torch.__version__)'
refused=$(run train --run folder | tail -1)
echo "$refused"
accepted=$(run train --folder folder | tail -1)
echo "$accepted"
[[ $refused == *"ambiguous option: --run could match"* ]]
[[ $accepted == *"script got ['train', '--folder', 'folder']"* ]]
