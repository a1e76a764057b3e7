"""Features and groups: the columns, how wide they are, and what a group's ports give."""

from __future__ import annotations

from collections.abc import Mapping

from graphrec.compiler.frontend.context import Context, Failed
from graphrec.compiler.frontend.lookups import Columns
from graphrec.graph import Group
from graphrec.ground.errors import suggestion
from graphrec.ground.shapes import B, Shape, length
from graphrec.recipe.model import (
    DenseFeature,
    FeatureGroup,
    PairedGroup,
    SequenceFeature,
)

__all__ = ["GROUP_PORTS", "PAIRED_PORTS", "Features"]

GROUP_PORTS = ("fields", "linear", "values")
PAIRED_PORTS = ("query", "keys", "mask", "length")


class Features:
    """The recipe's columns and groups, resolved by name."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.features = context.recipe.features
        self.plain = sorted(n for n, f in self.features.items() if f.type != "sequence")
        self.sequences = sorted(n for n, f in self.features.items() if f.type == "sequence")
        declared = Columns(context, self.plain, self.sequences)
        self.columns, self.tables = declared.columns, declared.tables
        self._groups: dict[str, Group | None] = {}
        self._resolving: list[str] = []
        self._failed: set[str] = set()
        self.linear_width: Mapping[str, int] = {}

    # ---- groups -----------------------------------------------------------------------------

    @property
    def group_names(self) -> list[str]:
        implicit = {f.group for f in self.features.values() if f.group and f.type != "sequence"}
        return ["all", *sorted(implicit | set(self.context.recipe.groups) | set(self.sequences))]

    def group(self, name: str) -> Group | None:
        """The resolved group of that name, None if there is none; Failed for a broken one."""
        if name in self._failed:
            raise Failed  # told when it was first asked for
        if name not in self._groups:
            if name in self._resolving:
                cycle = " -> ".join([*self._resolving[self._resolving.index(name) :], name])
                raise self.context.fail("GR402", f"groups.{name}", f"groups form a cycle: {cycle}")
            self._resolving.append(name)
            try:
                self._groups[name] = self._resolve(name)
            except Failed:
                self._failed.add(name)
                raise
            finally:
                self._resolving.pop()
        return self._groups[name]

    def _resolve(self, name: str) -> Group | None:
        groups = self.context.recipe.groups
        if name == "all":
            return Group(self._all())
        if name in self.sequences:
            return Group(keys=self._keys(name), sequence=name)
        if name in groups:
            group = groups[name]
            return (
                self._paired(name, group)
                if isinstance(group, PairedGroup)
                else self._listed(name, group)
            )
        members = tuple(n for n in self.plain if self.features[n].group == name)
        return Group(members) if members else None

    def _listed(self, name: str, group: FeatureGroup) -> Group:
        if len(group.of) == 1 and group.of[0] in self.sequences:
            history = self.group(group.of[0])
            assert history is not None
            return history
        members: dict[str, None] = {}
        for i, part in enumerate(group.of):
            path = f"groups.{name}.of.{i}"
            inner = self._member(part, path)
            if inner.sequence is not None:
                raise self.context.fail(
                    "GR311",
                    path,
                    f"`{part}` is a sequence: it can't be mixed with plain features",
                    f"make it a group of its own, or pair it: {{query: [...], keys: {part}}}",
                )
            members.update(dict.fromkeys(inner.features))
        for i, part in enumerate(group.exclude):
            if part not in members:
                raise self.context.fail(
                    "GR301",
                    f"groups.{name}.except.{i}",
                    f"`{part}` is not in the group",
                    suggestion(part, list(members)),
                )
            del members[part]
        if not members:
            raise self.context.fail(
                "GR311", f"groups.{name}", f"group `{name}` has no features left"
            )
        settings = group.regularize.model_dump(by_alias=True) if group.regularize else {}
        if len(members) == 1:  # one feature alone is not chosen from: there is nothing to drop
            settings = {}
        return Group(tuple(members), regularize=settings)

    def _member(self, part: str, path: str) -> Group:
        if part in self.plain:
            return Group((part,))
        broken = {f"features.{part}", f"groups.{part}", "features", "groups"}
        if self.group(part) is None and broken & self.context.broken:
            raise Failed
        member = self.group(part)
        if member is None:
            known = [*self.plain, *self.group_names]
            raise self.context.fail(
                "GR301", path, f"no feature or group `{part}`", suggestion(part, known)
            )
        return member

    def _paired(self, name: str, group: PairedGroup) -> Group:
        if group.keys not in self.sequences and self._is_lost(group.keys):
            raise Failed
        if group.keys not in self.sequences:
            raise self.context.fail(
                "GR301",
                f"groups.{name}.keys",
                f"no sequence `{group.keys}`",
                suggestion(group.keys, self.sequences),
            )
        sequence = self.features[group.keys]
        assert isinstance(sequence, SequenceFeature)
        for i, part in enumerate(group.query):
            if part not in self.features and self._is_lost(part):
                raise Failed
            if part not in self.features:
                raise self.context.fail(
                    "GR301",
                    f"groups.{name}.query.{i}",
                    f"no feature `{part}`",
                    suggestion(part, self.plain),
                )
        keys = self._keys(group.keys)
        where = f"sequence `{group.keys}` ({self.context.line(f'features.{group.keys}')})"
        for i, part in enumerate(group.of):
            if part not in sequence.of:
                what = f"{where} has no feature `{part}`"
                help = suggestion(part, sequence.of)
                raise self.context.fail("GR312", f"groups.{name}.of.{i}", what, help)
        chosen = tuple(sorted(group.of or sequence.of))
        if group.query and sorted(group.query) != [*chosen]:
            raise self.context.fail(
                "GR312",
                f"groups.{name}.query",
                f"query has {', '.join(sorted(group.query))}, but "
                f"{'`of`' if group.of else where} is of {', '.join(chosen)}",
                "a query names exactly the features of its keys, in any order; `of:` chooses keys",
            )
        keys = tuple(key for key in keys if key.removeprefix(f"{group.keys}.") in chosen)
        query = chosen if group.query else ()
        return Group(query=query, keys=keys, sequence=group.keys)

    def _is_lost(self, feature: str) -> bool:
        """Whether the feature is, or may be, in a part that can't be read."""
        return bool({f"features.{feature}", "features"} & self.context.broken)

    def _all(self) -> tuple[str, ...]:
        if not self.plain:
            if any(path.partition(".")[0] == "features" for path in self.context.broken):
                raise Failed
            help = "it is the group of every feature that is no sequence"
            raise self.context.fail("GR311", "features", "group `all` has no features", help)
        return tuple(self.plain)

    def _keys(self, name: str) -> tuple[str, ...]:
        """Columns of a sequence; Failed when one of its features is wrong (reported)."""
        sequence = self.features[name]
        assert isinstance(sequence, SequenceFeature)
        keys = tuple(f"{name}.{base}" for base in sorted(sequence.of))
        if any(key not in self.columns for key in keys):
            raise Failed
        return keys

    # ---- ports ------------------------------------------------------------------------------

    def port(self, name: str, port: str, path: str, column: int = -1) -> Shape:
        """Shape of a group's port; reports and raises Failed where there is no such port."""
        group = self.group(name)
        assert group is not None
        if group.sequence is not None:
            return self._sequence_port(name, group, port, path)
        if port == "":
            return Shape((B, sum(self.columns[c].dim for c in group.features)))
        if port == "fields":
            return Shape((B, len(group.features), self._field_width(name, group, path)))
        if port == "linear":
            return Shape((B, self.linear_width.get(name, 1)))
        if port == "values":
            numbers = [c for c in group.features if isinstance(self.features[c], DenseFeature)]
            if not numbers:
                raise self.context.fail(
                    "GR503", path, f"group `{name}` has no dense features: no values"
                )
            return Shape((B, sum(self.columns[c].width for c in numbers)))
        raise self.context.fail(
            "GR302", path, f"group `{name}` has no port `{port}`", suggestion(port, GROUP_PORTS)
        )

    def _sequence_port(self, name: str, group: Group, port: str, path: str) -> Shape:
        ports = PAIRED_PORTS if group.query else PAIRED_PORTS[1:]
        steps = length(str(group.sequence))
        if port in ("", "keys") and not (port == "" and group.query):
            return Shape((B, steps, sum(self.columns[c].dim for c in group.keys)))
        if port == "query" and group.query:
            return Shape((B, sum(self.columns[c].dim for c in group.query)))
        if port == "mask":
            return Shape((B, steps), "bool")
        if port == "length":
            return Shape((B, 1))
        message = (
            f"`{name}` has no port `{port}`"
            if port
            else f"`{name}` is a pair of query and keys: name one of its ports"
        )
        raise self.context.fail("GR302", path, message, suggestion(port, ports))

    def _field_width(self, name: str, group: Group, path: str) -> int:
        widths: dict[int, list[str]] = {}
        for column in group.features:
            widths.setdefault(self.columns[column].dim, []).append(column)
        if len(widths) == 1:
            return next(iter(widths))
        common = max(widths, key=lambda w: (len(widths[w]), w))
        odd = sorted(c for w, members in widths.items() if w != common for c in members)
        shown = ", ".join(f"D={self.columns[c].dim} for `{c}`" for c in odd[:8])
        more = f", ... ({len(odd)} in all)" if len(odd) > 8 else ""
        raise self.context.fail(
            "GR502",
            path,
            f"{path} = {name}.fields needs equal widths [B, F, D]",
            f"D={common} for {len(widths[common])} features, {shown}{more}\n"
            f"fix: give them dim {common}, or use a group without them:"
            f"  {{of: {name}, except: [{', '.join(odd[:8])}]}}",
        )
