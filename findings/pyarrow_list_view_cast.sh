#!/usr/bin/env bash
# pyarrow 26.0.1: casting `list_view` to `list` gives other rows than the array has, without an error,
# where a row is null, where the array is a slice, or where the views lie in another order than the
# rows. `to_pylist()` of the same array is right. Readers of files that hold list views (and engines
# that hand them over) meet this when they normalise types by a cast. Seen on Linux x86-64.
# Expected: the rows stay. Exit status 0 as long as at least one form loses rows and to_pylist does not.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pyarrow==26.0.1
"$work/venv/bin/python" - <<'PY'
import pyarrow as pa

print("pyarrow", pa.__version__)
rows = [[1], None, [2, 3]]
views = pa.ListViewArray.from_arrays(
    pa.array([0, 0, 1], pa.int32()), pa.array([1, 0, 2], pa.int32()), pa.array([1, 2, 3]),
    mask=pa.array([False, True, False]),
)
backwards = pa.ListViewArray.from_arrays(
    pa.array([2, 0], pa.int32()), pa.array([1, 2], pa.int32()), pa.array([1, 2, 3])
)
forms = {
    "a null row": (views, rows),
    "a slice": (pa.array([[9], [1], [2, 3]], pa.list_view(pa.int64())).slice(1), [[1], [2, 3]]),
    "views in another order": (backwards, [[3], [1, 2]]),
}
lost = []
for name, (array, wanted) in forms.items():
    assert array.to_pylist() == wanted, name
    cast = array.cast(pa.list_(pa.int64())).to_pylist()
    print(f"{name}: has {wanted}, cast gives {cast}")
    if cast != wanted:
        lost.append(name)
assert lost, "the cast keeps all rows now"
PY
