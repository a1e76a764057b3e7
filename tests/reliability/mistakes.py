"""How well mistakes are told: seeded mistakes of many kinds over the shipped recipes.

    python tests/reliability/mistakes.py                  the table
    python tests/reliability/mistakes.py --each 40        more of each kind
    python tests/reliability/mistakes.py --show KIND      what is said about some of a kind

caught: checking finds an error.  line: a finding is on the very line of the mistake.
told: that finding names the culprit, and how to mend it.  extra: further findings (follow-ups).
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mistake_extra import EXTRA  # noqa: E402
from mistake_kinds import KINDS  # noqa: E402
from mistake_texts import Edit, Mistake, Recipe, combined, corpus, labelled  # noqa: E402

from graphrec.compiler.pipeline import check_recipe  # noqa: E402
from graphrec.ground.errors import Problem, render  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Judged:
    """What checking said about one mistake."""

    mistake: Mistake
    recipe: Recipe
    problems: tuple[Problem, ...]
    caught: bool
    line: bool
    told: bool
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def extra(self) -> int:
        return max(0, sum(p.severity == "error" for p in self.problems) - 1)


def mistakes(recipes: Iterable[Recipe], each: int, seed: int = 7) -> list[tuple[Recipe, Mistake]]:
    """Up to `each` mistakes of every kind, over as many recipes as have a place for it."""
    made = []
    recipes = list(recipes)
    for name, (_, make) in KINDS.items():
        rng = random.Random(f"{seed} {name}")
        found: list[tuple[Recipe, Mistake]] = []
        for _ in range(each * 12):
            recipe = rng.choice(recipes)
            mistake = make(recipe, rng)
            if mistake:
                found.append((recipe, labelled(mistake, name)))
            if len(found) >= each:
                break
        made += found
    return made


def judge(recipe: Recipe, mistake: Mistake, folder: Path) -> Judged:
    """Check the recipe with the mistake in it."""
    problems, sources = _checked(recipe, mistake.edits, mistake.overrides, folder)
    caught = any(p.severity == "error" for p in problems)
    here = [p for p in problems if is_here(p, mistake, recipe, mistake.edits)]
    told = any(_tells(p, mistake) for p in here)
    return Judged(mistake, recipe, problems, caught, bool(here), told, sources)


def _checked(
    recipe: Recipe, edits: tuple[Edit, ...], overrides: tuple[str, ...], folder: Path
) -> tuple[tuple[Problem, ...], dict[str, str]]:
    files, _ = recipe.applied(edits)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    checked = check_recipe(str(folder / recipe.main), overrides=overrides)
    return checked.problems, checked.reading.sources


def is_here(problem: Problem, mistake: Mistake, recipe: Recipe, edits: tuple[Edit, ...]) -> bool:
    """Whether a finding stands on the line of the mistake (or quotes the override)."""
    if mistake.at is None:
        return any(problem.message.startswith(f"-o {text}:") for text in mistake.overrides)
    if problem.span is None or problem.span.file is None:
        return False
    name = Path(problem.span.file).name
    places = {(at[0], recipe.line(at, edits)) for at in (mistake.at, *mistake.also)}
    return (name, problem.span.line) in places


def _tells(problem: Problem, mistake: Mistake) -> bool:
    text = f"{problem.path} {problem.message} {problem.help}"
    return mistake.culprit in text and any(word in text for word in mistake.mend)


def triples(
    made: list[tuple[Recipe, Mistake]], count: int, seed: int = 7
) -> list[tuple[Recipe, list[Mistake]]]:
    """Three mistakes of different kinds in one recipe, none of them hidden by another's place."""
    rng = random.Random(seed)
    by_recipe: dict[str, list[tuple[Recipe, Mistake]]] = {}
    for recipe, mistake in made:
        by_recipe.setdefault(recipe.name, []).append((recipe, mistake))
    names = [n for n, found in by_recipe.items() if len({m.kind for _, m in found}) >= 3]
    found: list[tuple[Recipe, list[Mistake]]] = []
    for _ in range(count * 50):
        recipe = by_recipe[rng.choice(names)][0][0]
        chosen = rng.sample([m for _, m in by_recipe[recipe.name]], 3)
        apart = len({m.kind for m in chosen}) == 3 and combined(chosen) is not None
        if apart and not any(_hides(recipe, a, b) for a in chosen for b in chosen if a is not b):
            found.append((recipe, chosen))
        if len(found) >= count:
            break
    return found


def _hides(recipe: Recipe, first: Mistake, second: Mistake) -> bool:
    """Whether the first leaves nothing of the second: unread files, unreadable lines."""
    if second.at is None or first.at is None:
        return False
    if first.kind in ("extended_file", "extends_itself"):
        return second.at[0] != first.at[0]
    lines = [recipe.line(at, ()) for at in (first.at, second.at)]
    return KINDS[first.kind][0] == "yaml" and first.at[0] == second.at[0] and lines[0] == lines[1]


def judge_several(recipe: Recipe, several: list[Mistake], folder: Path) -> list[bool]:
    """For each of several mistakes in one recipe, whether a finding is on its line."""
    edits = combined(several) or ()
    overrides = tuple(o for m in several for o in m.overrides)
    problems, _ = _checked(recipe, edits, overrides, folder)
    return [any(is_here(p, m, recipe, edits) for p in problems) for m in several]


def recipes() -> list[Recipe]:
    return corpus(ROOT / "recipes", EXTRA)


def table(judged: list[Judged]) -> str:
    lines = [f"{'kind':<30}{'family':<10}{'n':>4}{'caught':>8}{'line':>8}{'told':>8}{'extra':>8}"]
    for name, (family, _) in KINDS.items():
        own = [j for j in judged if j.mistake.kind == name]
        if own:
            lines.append(f"{name:<30}{family:<10}" + _numbers(own))
    lines += ["", f"{'all':<40}" + _numbers(judged)]
    return "\n".join(lines)


def shares(judged: list[Judged]) -> tuple[float, float, float]:
    """caught, line, told: shares of the mistakes, each kind counting alike."""
    kinds = {j.mistake.kind for j in judged}
    per_kind = [[j for j in judged if j.mistake.kind == k] for k in sorted(kinds)]
    return (
        _mean([_mean([j.caught for j in own]) for own in per_kind]),
        _mean([_mean([j.line for j in own]) for own in per_kind]),
        _mean([_mean([j.told for j in own]) for own in per_kind]),
    )


def _mean(values: list[bool] | list[float]) -> float:
    return sum(values) / len(values)


def _numbers(judged: list[Judged]) -> str:
    caught, line, told = shares(judged)
    extra = _mean([float(j.extra) for j in judged])
    return f"{len(judged):>4}{caught:>8.1%}{line:>8.1%}{told:>8.1%}{extra:>8.2f}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=12)
    parser.add_argument("--triples", type=int, default=150)
    parser.add_argument("--show", metavar="KIND")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    made = mistakes(recipes(), args.each, args.seed)
    if args.show:
        made = [(r, m) for r, m in made if args.show in (m.kind, KINDS[m.kind][0], "bad")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judged = [judge(recipe, mistake, folder) for recipe, mistake in made]
        if args.show:
            for one in judged:
                if args.show != "bad" or not (one.caught and one.line and one.told):
                    _show(one)
            return 0
        print(table(judged))
        print(f"\n{len({j.mistake.kind for j in judged})} kinds of mistakes")
        results = [judge_several(r, m, folder) for r, m in triples(made, args.triples, args.seed)]
        whole = _mean([all(found) for found in results])
        single = _mean([one for found in results for one in found])
        print(
            f"three at once: {single:.1%} of the faults told, all three in {whole:.1%} of recipes"
        )
    return 0


def _show(one: Judged) -> None:
    mistake = one.mistake
    place = one.recipe.line(mistake.at, mistake.edits) if mistake.at else mistake.overrides
    marks = f"caught {one.caught} line {one.line} told {one.told}"
    print(f"== {mistake.kind} in {one.recipe.name}, line {place}: {marks}")
    print(f"   culprit {mistake.culprit!r}, mend {mistake.mend}")
    print(render(one.problems, one.sources) or "   (nothing)", "\n")


if __name__ == "__main__":
    sys.exit(main())
