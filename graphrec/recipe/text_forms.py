"""Short forms of groups, tasks and training settings -> their one long form."""

from __future__ import annotations

from collections.abc import Callable

from graphrec.ground.errors import Problem
from graphrec.recipe.problem_text import Report
from graphrec.recipe.recipe_files import located
from graphrec.recipe.tree import INVALID, Tree, shown

__all__ = [
    "BY_KIND",
    "located_items",
    "open_data",
    "open_group",
    "open_loss_term",
    "open_retrieval",
    "open_task",
    "open_train",
    "settled_loss_term",
    "with_task_defaults",
]

BY_KIND = {
    "binary": ("bce", ("auc", "logloss")),
    "regression": ("l2", ("mse", "mae")),
    "multiclass": ("softmax", ("accuracy", "multiclass_auc")),
}
"""Loss and metrics of a task that says neither, by its kind."""


def _change(tree: Tree, key: str, form: Callable[[Tree], Tree]) -> Tree:
    """The map with one entry in its long form, if it is there and could be read."""
    entry = tree.at(key)
    if entry is None or entry.value is INVALID:
        return tree
    return tree.holding({**tree.value, key: form(entry)})


def _named(key: str) -> Callable[[Tree], Tree]:
    """`text` -> {key: text}."""
    return lambda tree: tree.holding({key: tree}) if isinstance(tree.value, str) else tree


def _listed(tree: Tree) -> Tree:
    """`text` -> [text]."""
    return tree.holding([tree.under(tree.span)]) if isinstance(tree.value, str) else tree


def open_group(tree: Tree) -> Tree:
    """A list -> {of: list}; `of: all` -> `of: [all]`."""
    if isinstance(tree.value, list):
        return tree.holding({"of": tree})
    return _change(_change(tree, "of", _listed), "except", _listed)


# ---- tasks ------------------------------------------------------------------------------------


def open_task(tree: Tree) -> Tree:
    """`label: clk`, `space: clk`, `loss: focal` and `loss: none` in their long forms."""
    for key, form in (("label", _named("column")), ("space", _named("label")), ("loss", _loss)):
        tree = _change(tree, key, form)
    return _class_texts(tree)


def _class_texts(tree: Tree) -> Tree:
    """`classes: [no, maybe, yes]` -> their number, and the texts beside the label's column."""
    classes, label = tree.at("classes"), tree.at("label")
    if classes is None or not isinstance(classes.value, list) or label is None:
        return tree
    if not isinstance(label.value, dict) or "classes" in label.value:
        return tree
    told = label.holding({**label.value, "classes": classes})
    return tree.holding(
        {**tree.value, "classes": classes.holding(len(classes.value)), "label": told}
    )


def open_loss_term(tree: Tree) -> Tree:
    """`hint: sum(a * b)` -> `{value: sum(a * b)}`; `teacher: runs/big` -> `{run: ...}`."""
    if isinstance(tree.value, str):
        return tree.holding({"value": tree})
    return _change(tree, "teacher", _named("run")) if isinstance(tree.value, dict) else tree


def settled_loss_term(tree: Tree) -> Tree:
    """The teacher's folder as an absolute path: a relative one starts from its own file's."""

    def absolute(run: Tree) -> Tree:
        is_text = isinstance(run.value, str)
        return run.holding(located(run.value, run.span)) if is_text else run

    def inside(teacher: Tree) -> Tree:
        return _change(teacher, "run", absolute) if isinstance(teacher.value, dict) else teacher

    return _change(tree, "teacher", inside) if isinstance(tree.value, dict) else tree


def open_retrieval(tree: Tree) -> Tree:
    """`label: like`, `loss: sampled_softmax` and `seen: liked` in their long forms."""
    for key, form in (("label", _named("column")), ("loss", _loss), ("seen", _listed)):
        tree = _change(tree, key, form)
    return tree


def located_items(tree: Tree) -> Tree:
    """Files of items and of hard negatives, absolute as those of `data` are."""

    def absolute(path: Tree) -> Tree:
        return path.holding(located(path.value, path.span)) if isinstance(path.value, str) else path

    def of_candidates(part: Tree) -> Tree:
        return _change(_change(part, "from", absolute), "hard", absolute)

    return _change(tree, "candidates", of_candidates)


def _loss(tree: Tree) -> Tree:
    if not isinstance(tree.value, str):
        return tree
    return tree.holding({} if tree.value == "none" else {tree.value: tree.holding({})})


def with_task_defaults(tree: Tree) -> Tree:
    """Loss and metrics by the task's kind; without a label there is nothing to evaluate."""
    if not isinstance(tree.value, dict):
        return tree
    kind = tree.at("kind")
    loss, metrics = BY_KIND.get(str(kind.value) if kind else "binary", BY_KIND["binary"])
    place = Tree(None, tree.span, tree.key, filled=True)
    value = dict(tree.value)
    value.setdefault("loss", place.holding({loss: place.holding({})}))
    measured = metrics if "label" in value else ()
    value.setdefault("metrics", place.holding([place.holding(m) for m in measured]))
    return tree.holding(value)


# ---- training and data ------------------------------------------------------------------------


def open_train(tree: Tree, report: Report) -> Tree:
    """`lr: 1e-3`, `dense: adam`, `{adam: {...}}`, `schedule: cosine` and `balance: uncertainty`."""
    tree = _change(tree, "lr", _rates)
    for key in ("schedule", "table_schedule", "balance"):
        tree = _change(tree, key, lambda t, key=key: _choice(t, "kind", f"train.{key}", report))  # type: ignore[misc]
    optim = tree.at("optim")
    if optim is None or optim.value is INVALID:
        return tree
    if not isinstance(optim.value, dict):
        what = f"expected a map with dense and sparse, got {shown(optim.value)}"
        help = "for example  optim: {dense: adam, sparse: adagrad}"
        report(Problem("GR202", what, optim.span, "train.optim", help))
        return tree.holding({**tree.value, "optim": optim.holding(INVALID)})
    for side in ("dense", "sparse"):
        path = f"train.optim.{side}"
        optim = _change(optim, side, lambda t, path=path: _choice(t, "name", path, report))  # type: ignore[misc]
    return tree.holding({**tree.value, "optim": optim})


def _rates(tree: Tree) -> Tree:
    """One number is the dense rate; that of tables follows from their optimizer."""
    if isinstance(tree.value, bool) or not isinstance(tree.value, int | float):
        return tree
    return tree.holding({"dense": tree})


def _choice(tree: Tree, word: str, path: str, report: Report) -> Tree:
    """`adam` and `{adam: {eps: 1e-8}}` -> `{name: adam, eps: 1e-8}`."""
    if isinstance(tree.value, str):
        return tree.holding({word: tree.under(tree.span)})
    if not isinstance(tree.value, dict) or word in tree.value or len(tree.value) != 1:
        return tree
    [(name, settings)] = tree.value.items()
    if not isinstance(settings.value, dict):
        if settings.value is INVALID:
            return tree.holding(INVALID)
        if word == "kind":  # a lone setting such as {warmup: 100}
            return tree
        what = f"expected a map of settings, got {shown(settings.value)}"
        report(Problem("GR202", what, settings.span, f"{path}.{name}"))
        return tree.holding(INVALID)
    chosen = Tree(name, settings.key, settings.key)
    return tree.holding({word: chosen, **settings.value})


def open_data(tree: Tree) -> Tree:
    """Paths as lists, absolute: relative ones start from the folder of the file that wrote them."""

    def absolute(paths: Tree) -> Tree:
        listed = _listed(paths)
        if not isinstance(listed.value, list):
            return listed
        return listed.holding(
            [
                t.holding(located(t.value, t.span)) if isinstance(t.value, str) else t
                for t in listed.value
            ]
        )

    return _change(_change(tree, "train", absolute), "eval", absolute)
