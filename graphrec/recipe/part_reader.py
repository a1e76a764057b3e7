"""One part of a canonical tree -> its model, or findings at the places of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from graphrec.ground.errors import Problem
from graphrec.recipe.findings import from_pydantic
from graphrec.recipe.model import Origin
from graphrec.recipe.model_checks import CHECKS
from graphrec.recipe.problem_text import Report
from graphrec.recipe.tree import Tree, shown, spans

__all__ = ["Part", "PartReader"]

Part = TypeVar("Part", bound=BaseModel)


class PartReader:
    """Reads parts of `tree` and tells `report` what is wrong with them."""

    def __init__(self, tree: Tree, report: Report, root: str = ".", title: str = "") -> None:
        keys, values = spans(tree)
        self.tree = tree
        self.report = report
        self.origin = Origin.model_construct(
            keys=keys, values=values, root=root, title=title, sources={}
        )

    def is_map(self, tree: Tree, path: str, wanted: str) -> bool:
        if isinstance(tree.value, dict):
            return True
        self.report(
            Problem("GR202", f"expected {wanted}, got {shown(tree.value)}", tree.span, path)
        )
        return False

    def model(
        self,
        model: type[Part],
        plain: Any,
        path: str,
        hidden: tuple[str, ...] = (),
        silent: tuple[str, ...] = (),
    ) -> Part | None:
        """The plain value as `model`; None and findings if it does not fit."""
        return self.attempt(lambda: model.model_validate(plain), model, path, hidden, silent)

    def attempt(
        self,
        make: Callable[[], Part],
        model: type[BaseModel],
        path: str,
        hidden: tuple[str, ...] = (),
        silent: tuple[str, ...] = (),
    ) -> Part | None:
        try:
            part = make()
        except ValidationError as error:
            docs = dict(_documented(model))
            known = [key for key in docs if "." not in key and key not in hidden]
            problems = from_pydantic(error, path, self.origin, known, docs=docs)
            for problem in problems:
                if problem.code not in silent:
                    self.report(problem)
            return None
        check = CHECKS.get(type(part))
        for problem in check(part, path) if check else ():
            at = self.origin.key(problem.path) if problem.code == "GR205" else None
            self.report(problem.at(at or self.origin.value(problem.path)))
        return part


def _documented(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(key, sentence) of every field, nested ones as `schedule.warmup`."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key, field.description or ""
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _documented(inner, f"{key}.")
