"""Relations between tasks, and what tasks say of their predictions."""

from __future__ import annotations

from graphrec.compiler.frontend.context import Context
from graphrec.graph import find_cycle
from graphrec.ground.errors import suggestion
from graphrec.recipe.expressions import ExpressionError, parse_expression
from graphrec.recipe.model import Recipe, Relation, Task
from graphrec.recipe.tasks import is_lognormal, own_form

__all__ = ["classes_of", "probability_names", "relation_map"]


def classes_of(recipe: Recipe, name: str) -> int:
    """Width of the task's logits."""
    if is_lognormal(recipe, name):
        return 3
    return (recipe.tasks[name].classes or 2) if own_form(recipe, name) == "softmax" else 1


def relation_map(context: Context) -> dict[str, tuple[int, Relation]]:
    """Child task -> (index, relation); unknown tasks, missing towers and cycles are reported."""
    recipe, by_child = context.recipe, {}
    for index, relation in enumerate(recipe.relations):
        path = f"relations.{index}"
        members = [*relation.parents, relation.child]
        unknown = [t for t in members if t not in recipe.tasks]
        for task in unknown:
            if not {f"tasks.{task}", "tasks"} & context.broken:
                context.report("GR301", path, f"no task `{task}`", suggestion(task, recipe.tasks))
        for task in members:
            if task in recipe.tasks and recipe.tasks[task].inputs is None:
                context.report(
                    "GR406",
                    path,
                    f"task `{task}` has no `in`: only tasks with a tower can be related",
                    f"give tasks.{task} an `in:`",
                )
                unknown.append(task)
        if not unknown:
            by_child[relation.child] = (index, relation)
    cycle = find_cycle({child: relation.parents for child, (_, relation) in by_child.items()})
    while cycle:
        ordered = [*reversed(cycle)]
        start = ordered.index(min(ordered))
        ordered = ordered[start:] + ordered[:start]
        arrows = [by_child[child][0] for child in [*ordered[1:], ordered[0]]]
        steps = [
            f"{parent} ({context.line(f'relations.{arrow}')})"
            for parent, arrow in zip(ordered, arrows, strict=True)
        ]
        first = min(arrows, key=lambda arrow: str(context.key(f"relations.{arrow}")))
        context.report(
            "GR401",
            f"relations.{first}",
            f"relations form a cycle: {' -> '.join([*steps, ordered[0]])}",
        )
        for task in ordered:
            del by_child[task]
        cycle = find_cycle({child: relation.parents for child, (_, relation) in by_child.items()})
    return by_child


def probability_names(task: Task) -> list[str]:
    """Tasks whose `.prob` a prob task reads (what else it names is reported when it is built)."""
    try:
        names = parse_expression(task.prob or "0").names()
    except ExpressionError:
        return []
    return [n.ref.removesuffix(".prob") for n in names if n.ref.endswith(".prob")]
