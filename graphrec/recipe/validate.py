"""Canonical tree -> Recipe, part by part: what is wrong is reported and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from graphrec.ground.errors import Problem
from graphrec.recipe.composites import check_composite, node_of, sample, term_of
from graphrec.recipe.model import (
    FEATURES,
    NODE_WORDS,
    Composite,
    FeatureGroup,
    Group,
    LossTerm,
    NodeSpec,
    PairedGroup,
    Recipe,
    Relation,
    Retrieval,
    Task,
)
from graphrec.recipe.names import node_name
from graphrec.recipe.part_reader import Part, PartReader
from graphrec.recipe.search_space import read_range
from graphrec.recipe.training import Data, Export, Kernels, Train
from graphrec.recipe.tree import INVALID, Tree, shown

__all__ = ["Validator"]


class Validator(PartReader):
    """Validates the parts of one canonical tree."""

    def recipe(self, name: str) -> Recipe:
        """The recipe, without the parts that are broken."""
        features = self.parts("features", self.feature)
        return Recipe(
            graphrec=1,
            name=name,
            description=self.text("description"),
            data=self.section("data", Data),
            features=features,
            groups=self.parts("groups", self.group),
            blocks=self.parts("blocks", self.composite),
            graph=self.parts("graph", self.node, by_name=False),
            tasks=self.parts("tasks", self.task),
            retrieval=self.retrieval(),
            losses=self.parts("losses", self.loss_term),
            relations=tuple(self.relations()),
            kernels=self.section("kernels", Kernels),
            train=self.section("train", Train),
            search=self.parts("search", partial(read_range, self.tree, self.report)),
            export=self.section("export", Export),
            meta=self.tree.value["meta"].plain() if "meta" in self.tree.value else None,
            origin=self.origin,
        )

    def text(self, key: str) -> str:
        """A text at the top of the recipe, empty if there is none."""
        entry = self.tree.at(key)
        if entry is None or isinstance(entry.value, str):
            return entry.value if entry else ""
        if entry.value is not INVALID:
            what = f"expected a text, got {shown(entry.value)}"
            self.report(Problem("GR202", what, entry.span, key, "put quotes around it"))
        return ""

    def parts(
        self, section: str, read: Callable[[str, Tree, str], Any], by_name: bool = True
    ) -> dict[str, Any]:
        """The named parts of a section, ordered by name, or else as they are written.

        Nodes stay as written: generated code follows them, so that it reads as the recipe does.
        """
        entries = self.tree.at(section)
        if entries is None:
            return {}
        if not isinstance(entries.value, dict):
            if entries.value is not INVALID:
                what = f"expected a map of names, got {shown(entries.value)}"
                self.report(Problem("GR202", what, entries.span, section))
            self.report.breaks(section)
            return {}
        parts = {}
        for name in sorted(entries.value) if by_name else entries.value:
            path = f"{section}.{name}"
            part = None
            if entries.value[name].value is not INVALID:
                part = read(name, entries.value[name], path)
            if part is None or not entries.value[name].is_whole() or self.report.is_broken(path):
                self.report.breaks(path)
            else:
                parts[name] = part
        return parts

    # ---- parts ------------------------------------------------------------------------------

    def feature(self, name: str, tree: Tree, path: str) -> BaseModel | None:
        if not self.is_map(tree, path, "a map with `type`"):
            return None
        kind = tree.value["type"].value if "type" in tree.value else None
        model = FEATURES.get(kind) if isinstance(kind, str) else None
        if model is None:
            if kind is not INVALID:
                help = f"one of {', '.join(FEATURES)}"
                what = "`type` is required" if kind is None else f"no feature type {shown(kind)}"
                self.report(
                    Problem("GR206" if kind is None else "GR202", what, tree.key, path, help)
                )
            return None
        plain = {**tree.plain(), "name": name}
        hidden = ("name", "columns") if kind == "sequence" else ("name",)
        # what a default would have given is not missed when the defaults are broken
        silent = ("GR206",) if self.report.is_broken("defaults") else ()
        return self.model(model, plain, path, hidden, silent)

    def group(self, name: str, tree: Tree, path: str) -> Group | None:
        if not self.is_map(
            tree, path, "a list of features, or a map with `of`, or `query` and `keys`"
        ):
            return None
        if {"query", "keys"} & set(tree.value):
            return self.model(PairedGroup, tree.plain(), path)
        return self.model(FeatureGroup, tree.plain(), path)

    def node(self, name: str, tree: Tree, path: str) -> NodeSpec | str | None:
        if isinstance(tree.value, str):
            return tree.value
        if not self.is_map(tree, path, "a map with `block`, or an expression"):
            return None
        if "block" not in tree.value and self.misspelt_block(tree, path):
            return None
        return self.attempt(lambda: node_of(tree.plain()), NodeSpec, path, hidden=("params",))

    def misspelt_block(self, tree: Tree, path: str) -> bool:
        """A node without `block` whose parameters have a word that looks like it."""
        from graphrec.ground.errors import nearest

        texts = [k for k, t in tree.value.items() if isinstance(t.value, str) or t.value is INVALID]
        slip = nearest("block", [key for key in texts if key not in NODE_WORDS])
        if slip is None:
            return False
        where = tree.value[slip].key
        help = "did you mean `block`?"
        self.report(Problem("GR201", f"unknown key `{slip}`", where, f"{path}.{slip}", help))
        return True

    def composite(self, name: str, tree: Tree, path: str) -> Composite | None:
        if not self.is_map(tree, path, "a map with inputs, graph and output"):
            return None
        plain = tree.plain()
        if plain.setdefault("block", name) != name:
            what = f"this block is called `{name}` here"
            self.report(
                Problem("GR205", what, tree.value["block"].span, f"{path}.block", "leave it out")
            )
        hidden = () if not path else ("block",)
        composite = self.model(Composite, plain, path, hidden=hidden)
        if composite is None:
            return None
        before = len(self.report.problems)
        for problem in check_composite(composite, path):
            self.report(problem.at(self.origin.key(problem.path)))
        for node, body in tree.value["graph"].value.items():
            self.node(node, sample(composite, body), f"{path}.graph.{node}".lstrip("."))
        return composite if len(self.report.problems) == before else None

    def task(self, name: str, tree: Tree, path: str) -> Task | None:
        if not self.is_map(tree, path, "a map with `label` and `in`"):
            return None
        return self.model(Task, tree.plain(), path)

    def loss_term(self, name: str, tree: Tree, path: str) -> LossTerm | None:
        why = node_name(name)
        if why is not None:
            self.report(Problem("GR320", f"`{name[:60]}`: {why}", tree.key, path))
            return None
        if not self.is_map(tree, path, "an expression, or a map with `value` or `block`"):
            return None
        plain = tree.plain()
        if "block" not in plain:
            return self.model(LossTerm, plain, path, hidden=("params",))
        return self.attempt(lambda: term_of(plain), LossTerm, path, hidden=("params",))

    def retrieval(self) -> Retrieval | None:
        tree = self.tree.at("retrieval")
        if tree is None:
            return None
        retrieval = None
        if tree.value is not INVALID and self.is_map(
            tree, "retrieval", "a map with query and item"
        ):
            retrieval = self.model(Retrieval, tree.plain(), "retrieval")
        if retrieval is None or not tree.is_whole():
            self.report.breaks("retrieval")
            return None
        return retrieval

    def relations(self) -> Iterator[Relation]:
        entries = self.tree.at("relations")
        for number, tree in enumerate(entries.value if entries else []):
            path = f"relations.{number}"
            relation = self.model(Relation, tree.plain(), path, hidden=("parents", "child"))
            if relation is not None and tree.is_whole():
                yield relation
            else:
                self.report.breaks(path)

    def section(self, name: str, model: type[Part]) -> Part:
        """A section of settings; its defaults stand in where it is broken."""
        entry = self.tree.at(name)
        if entry is None:
            return model()
        settings = None
        if entry.value is not INVALID and self.is_map(entry, name, "a map of settings"):
            settings = self.model(model, entry.plain(), name)
        if settings is not None and entry.is_whole():
            return settings
        self.report.breaks(name)
        return self.rest(entry, model, name)

    def rest(self, tree: Tree, model: type[Part], name: str) -> Part:
        """The settings of a broken section that can be used, for what follows from them."""
        plain: dict[str, Any] = {}
        for key, part in tree.value.items() if isinstance(tree.value, dict) else ():
            if part.is_whole():
                try:
                    model.model_validate({key: part.plain()})
                except ValidationError:
                    continue
                plain[key] = part.plain()
        return model.model_validate(plain)
