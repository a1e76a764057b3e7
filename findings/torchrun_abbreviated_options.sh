#!/usr/bin/env bash
# torchrun takes options behind the script for its own. Its argparse looks for short forms in the whole
# command line before it hands the rest to the script, so a script's `--run` (or `--log`, `--master`) is
# "ambiguous", though everything behind the script's name is said to be the script's. Seen with torch
# 2.13.0, Python 3.11. It uses the torch of the Python it is given (PYTHON, default python3).
# Expected: the script runs and prints its arguments. Seen: exit status 2, the script never starts;
# with an option that is no prefix of torchrun's it runs. Exit status 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo 'import sys; print("script got", sys.argv[1:])' > "$folder/script.py"
run() { "${PYTHON:-python3}" -m torch.distributed.run --standalone --nproc_per_node 1 "$folder/script.py" "$@" 2>&1 || true; }
"${PYTHON:-python3}" -c 'import torch; print("torch", torch.__version__)'
refused=$(run train --run folder | tail -1)
echo "$refused"
accepted=$(run train --folder folder | tail -1)
echo "$accepted"
[[ $refused == *"ambiguous option: --run could match"* ]]
[[ $accepted == *"script got ['train', '--folder', 'folder']"* ]]
