"""Wrong graphs: each mistake has its code, its line and its mend; several are told in one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.compiler.pipeline import check_recipe

HEAD = """\
graphrec: 1
name: toy
defaults: {feature: {dim: 8}}
features:
  - {type: id, group: user, names: {user_id: 100, age: 10}}
  - {type: id, group: item, names: {item_id: 50}}
"""
Write = Callable[[str], Path]

# (what follows the head, code, line, words of message or help)
CASES = {
    "a typo in a reference": (
        "graph:\n  top: {block: mlp, in: al, hidden: [4]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR301", 8, "did you mean `all`?",
    ),
    "a typo in a block": (
        "graph:\n  top: {block: mpl, in: all, hidden: [4]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR305", 8, "did you mean `mlp`?",
    ),
    "a typo in a parameter": (
        "graph:\n  top: {block: mlp, in: all, hiden: [4]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR201", 8, "did you mean `hidden`?",
    ),
    "a parameter of the wrong kind": (
        "graph:\n  top: {block: mlp, in: all, hidden: [four]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR202", 8, "four",
    ),
    "a node that reads itself through another": (
        "graph:\n  a: {block: mlp, in: b, hidden: [4]}\n  b: {block: mlp, in: a, hidden: [4]}\n"
        "  top: {block: mlp, in: [all, a], hidden: [4]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR402", 8, "a (line 8) -> b (line 9) -> a",
    ),
    "a dead node": (
        "graph:\n  lost: {block: mlp, in: all, hidden: [4]}\n  top: {block: mlp, in: all, hidden: [4]}\n"
        "tasks: {ctr: {label: y, in: top}}\n",
        "GR403", 8, "reaches no task",
    ),
    "a cycle of relations": (
        "graph:\n  tower: {block: mlp, in: all, each: tasks, hidden: [4]}\n"
        "tasks:\n  a: {label: y, in: tower}\n  b: {label: z, in: tower}\nrelations:\n  - a -> b\n  - b -> a\n",
        "GR401", 13, "a (line 13) -> b (line 14) -> a",
    ),
    "a bundle where one tensor is needed": (
        "graph:\n  experts: {block: mmoe, in: all, gates: tasks, experts: 2, hidden: [4]}\n"
        "  top: {block: mlp, in: experts, hidden: [4]}\ntasks: {a: {label: y, in: top}, b: {label: z, in: top}}\n",
        "GR304", 9, "experts.a, experts.b",
    ),
    "a history longer than the windows": (
        "  - {type: sequence, name: past, of: [item_id], max_len: 9}\n"
        "groups: {pair: {query: [item_id], keys: past}}\ngraph:\n"
        "  w: {block: multi_window_din, in: pair, hidden: [4], windows: [2, 3]}\n"
        "  top: {block: mlp, in: [all, w], hidden: [4]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR501", 10, "takes 5 steps, and `past` has up to 9 (max_len)",
    ),
    "an unknown member of a bundle": (
        "graph:\n  experts: {block: mmoe, in: all, gates: tasks, experts: 2, hidden: [4]}\n"
        "  top: {block: mlp, in: experts.aa, hidden: [4]}\ntasks: {a: {label: y, in: top}, b: {label: z, in: top}}\n",
        "GR302", 9, "did you mean `a`?",
    ),
    "a head over fields": (
        "graph:\n  top: all.fields\ntasks: {ctr: {label: y, in: top}}\n", "GR506", 9, "[B, 3, 8]",
    ),
    "a logit that is too wide": (
        "graph:\n  top: {block: mlp, in: all, hidden: [4]}\ntasks: {ctr: {label: y, logit: top}}\n",
        "GR506", 9, "[B, 4]",
    ),
    "widths that do not fit": (
        "graph:\n  a: {block: mlp, in: all, hidden: [4]}\n  b: {block: mlp, in: all, hidden: [5]}\n  top: a * b\n"
        "tasks: {ctr: {label: y, in: top}}\n",
        "GR505", 10, "[B, 4] and [B, 5]",
    ),
    "a function that is not in the language": (
        "graph:\n  top: sigmiod(all)\ntasks: {ctr: {label: y, in: top}}\n", "GR207", 8, "did you mean `sigmoid`?",
    ),
    "a port that is not there": (
        "graph:\n  top: {block: mlp, in: all.feilds, hidden: [4]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR302", 8, "did you mean `fields`?",
    ),
    "a task that is not there": (
        "graph:\n  tower: {block: mlp, in: all, each: tasks, hidden: [4]}\n"
        "tasks:\n  click: {label: y, in: tower}\n  buy: {label: z, in: tower}\nrelations:\n  - clik -> buy\n",
        "GR301", 13, "did you mean `click`?",
    ),
    "a feature where a group is meant": (
        "graph:\n  top: {block: mlp, in: user_id, hidden: [4]}\ntasks: {ctr: {label: y, in: top}}\n",
        "GR303", 8, "make a group",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_is_found_with_its_line(case: str, write_recipe: Write) -> None:
    text, code, line, words = CASES[case]
    checked = check_recipe(write_recipe(HEAD + text))
    found = [p for p in checked.problems if p.code == code]
    assert found, [str(p) for p in checked.problems]
    problem = found[0]
    assert problem.span is not None and problem.span.line == line, problem
    assert words in f"{problem.message} {problem.help}"
    assert len(checked.errors) == 1, [f"{p.code} {p.message}" for p in checked.errors]


def test_several_mistakes_in_one_run(write_recipe: Write) -> None:
    text = HEAD + (
        "  - {type: id, group: item, names: {brand: 20}, dim: 4}\n"
        "graph:\n"
        "  a:    {block: mlp, in: b, hidden: [4]}\n"
        "  b:    {block: mlp, in: a, hidden: [4]}\n"
        "  typo: {block: mlp, in: al, hidden: [4]}\n"
        "  fm:   {block: fm, in: all.fields}\n"
        "  lost: {block: mlp, in: all, hidden: [4]}\n"
        "  top:  {block: mlp, in: [typo, fm, a], hidden: [4], dropuot: 0.1}\n"
        "tasks: {ctr: {label: y, in: top, weigth: 2}}\n"
    )
    checked = check_recipe(write_recipe(text), overrides=["train.bacth=1"])
    found = {(p.code, p.span.line if p.span else 0) for p in checked.errors}
    assert {
        ("GR402", 9),
        ("GR301", 11),
        ("GR502", 12),
        ("GR403", 13),
        ("GR201", 14),
        ("GR201", 15),
        ("GR203", 1),
    } == found


def test_the_odd_widths_of_fields_are_named(write_recipe: Write) -> None:
    text = HEAD + "graph: {top: {block: fm, in: all.fields}}\ntasks: {ctr: {label: y, in: top}}\n"
    checked = check_recipe(write_recipe(text), overrides=["features.age.dim=4"])
    (problem,) = checked.errors
    assert problem.code == "GR502"
    assert "D=8 for 2 features, D=4 for `age`" in problem.help
    assert "except: [age]" in problem.help
