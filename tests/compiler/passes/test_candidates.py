"""The candidate split: one request and its candidates score as the same rows written out."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "reliability"))
from one_request import FITTED, one_request  # noqa: E402
from test_random_graphs import random_recipe  # noqa: E402

from graphrec.compiler.pipeline import Compiled, check_recipe, compile_recipe  # noqa: E402
from graphrec.nn import Jagged  # noqa: E402
from graphrec.recipe.model import IdFeature  # noqa: E402

Golden = Callable[[str, str], None]
ROOT = Path(__file__).parents[3]
RETRIEVERS = {"dssm", "mind", "retrieval_two_tower", "sasrec"}
"""They have vectors, and no predictions to score."""
RECIPES = sorted(
    p.stem
    for p in (ROOT / "recipes").glob("*.yaml")
    if not p.stem.endswith("_base") and p.stem not in RETRIEVERS
)
ONE_SIDED = {"autodis", "census_mmoe", "criteo_deepfm", "deepfm_criteo", "dlrm"}


def small(path: Path) -> list[str]:
    """Short tables: what is scored does not hang on their rows."""
    recipe = check_recipe(path).reading.recipe
    assert recipe is not None
    ids = {name: f for name, f in recipe.features.items() if isinstance(f, IdFeature)}
    large = [name for name, f in ids.items() if f.vocab.args and int(f.vocab.args[0]) > 500]
    return [f"features.{name}.vocab=hash(500)" for name in large]


def scorer(text: str | Path, overrides: Sequence[str] = ()) -> tuple[Compiled, torch.nn.Module]:
    compiled = compile_recipe(text, overrides=overrides, purpose="inference")
    torch.manual_seed(3)
    rows = {t.name: FITTED for t in (*compiled.graph.tables, *compiled.graph.first_order_tables)}
    module = compiled.module(rows).eval()
    for weight in module.parameters():  # zeros and statistics of no data would hide mistakes
        weight.data += 0.03 * torch.randn_like(weight)
    for name, value in module.named_buffers():
        if name.endswith("running_mean"):
            value.copy_(0.1 * torch.randn_like(value))
    return compiled, module


def same(compiled: Compiled, module: torch.nn.Module, count: int, longest: int = 6) -> None:
    request, candidates, tiled = one_request(compiled.graph, count, longest)
    with torch.no_grad():
        expected = module(tiled)
        found = getattr(module, compiled.source.score)(request, candidates)
    wanted = {k: v for k, v in expected.items() if not k.endswith("_loss")}
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        other = found[key]
        if isinstance(value, Jagged):
            assert isinstance(other, Jagged) and torch.equal(value.lengths, other.lengths)
            value, other = value.values, other.values
        assert isinstance(other, Tensor)
        near = 1e-5 * max(1.0, float(value.abs().max()) if value.numel() else 1.0)
        torch.testing.assert_close(
            other, value, rtol=1e-5, atol=near, msg=lambda m, k=key: f"{k}: {m}"
        )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_scores_as_it_predicts(name: str) -> None:
    path = ROOT / "recipes" / f"{name}.yaml"
    compiled, module = scorer(path, small(path))
    assert (compiled.source.score == "") == (name in ONE_SIDED)
    if compiled.source.score:
        for count in (1, 7, 500):
            same(compiled, module, count)
        same(compiled, module, 5, longest=0)


HEAD = """\
graphrec: 1
name: toy
defaults: {feature: {dim: 8}}
features:
  - {type: id, group: user, side: user, names: {u1: 50, u2: 20}}
  - {type: id, group: user, side: user, names: seen, vocab: 30, pool: mean}
  - {type: id, group: item, side: item, names: {i1: 30, i2: 40}}
  - {type: id, group: when, side: context, names: {hour: 24}}
  - {type: dense, group: item, side: item, names: price, dim: 8}
  - {type: dense, group: numbers, side: user, names: n_age, width: 3}
  - {type: dense, group: numbers, names: n_cost}
  - {type: sequence, side: user, name: past, of: [i1, i2], max_len: 6}
  - {type: sequence, name: near, of: [i1], max_len: 6}
groups:
  pair: {query: [i1, i2], keys: past}
  mixed: [u1, i1, hour]
  dropped: {of: [u1, i2, hour], regularize: {variational_dropout: {lambda: 0.1}}}
"""
REST = (
    "r1: {block: pooling, in: near}, r2: {block: dot_attention, in: pair},"
    " r4: {block: linear, in: [all, r1, r2, mixed, dropped], out: 3}"
)
"""Everything that is declared must be read."""
TASKS = "tasks: {t: {label: y, in: top}, u: {label: z, in: r4}}\n"
CASES = {
    "linear over both": "{top: {block: linear, in: all, out: 4}}",
    "concatenations": "{a: {block: mlp, in: user, hidden: [4]}, b: {block: concat, in: [a, item, all]},"
    " c: 'concat(b, a, user)', d: c, top: {block: mlp, in: [d, a, b], hidden: [4], norm: batch, activation: dice}}",
    "expressions": "{u: 'concat(user, slice(user, 0, 8))', v: 'item * 2 - user * sigmoid(dot(user, item))',"
    " w: 'where(user > item, item, user) + cos(user, v)', x: 'clip(concat(item, user, v), 0, 1)',"
    " y: 'dot(concat(u, v), concat(item, item, slice(u, 0, 8)))', top: 'concat(w, sum(x), y, user, max(mixed))'}",
    "stacked": "{s: 'stack(slice(user, 0, 8), slice(item, 0, 8), slice(item, 8, 16))',"
    " f: {block: fm, in: s}, c: {block: cin, in: mixed.fields, layers: [4]}, g: 'reshape(mixed, [6, 4])',"
    " e: {block: senet, in: g}, p: 'reshape(e, [24])', top: 'concat(f, c, p, all.linear, user.linear)'}",
    "numbers": "{a: 'log1p(numbers.values)', top: {block: mlp, in: [numbers, a, numbers.values], hidden: [4]}}",
    "attention": "{a: {block: din, in: pair, hidden: [4, 3]}, b: {block: din, in: {query: i1_part, keys: past}, hidden: [4], activation: dice},"
    " c: {block: dot_attention, in: {query: pair.query, keys: past}},"
    " i1_part: 'slice(pair.query, 0, 8)', d: {block: attention_scores, in: pair, hidden: [4]}, e: {block: weighted_sum, in: {weights: d, values: past}},"
    " f: {block: attention_scores, in: pair, hidden: [4], softmax: false}, g: {block: pooling, in: f, mode: sum},"
    " h: {block: multi_window_din, in: pair, hidden: [4], windows: [2, 3], keep: last},"
    " j: {block: din, in: {query: mixed, keys: l}, hidden: [4]}, l: {block: linear, in: past, out: 24},"
    " top: 'concat(a, b, c, e, g, h, j)'}",
    "histories": "{a: {block: self_attention, in: past, width: 8, heads: 2, pool: none, positions: 3},"
    " b: {block: pooling, in: a}, c: {block: pooling, in: near}, d: 'a * 2 + slice(past, 0, 8)', e: {block: pooling, in: d},"
    " f: {block: attention_scores, in: pair, hidden: [4]}, g: 'concat(past, f)', h: {block: pooling, in: g},"
    " k: 'a * f', m: {block: pooling, in: k}, top: 'concat(b, c, e, h, m, past.length, near.length)'}",
    "request keys for fields": "{a: {block: din, in: {query: item, keys: k}, hidden: [4]},"
    " k: 'reshape(concat(user, user), [2, 24])', b: {block: pooling, in: user.fields},"
    " c: {block: din, in: {query: slice, keys: item.fields}, hidden: [4]}, slice: 'slice(user, 0, 8)', top: 'concat(a, b, c)'}",
    "crosses": "{a: {block: cross, in: {x0: mixed, x: mixed}, repeat: 2, carry: x},"
    " b: {block: cross_v2, in: {x0: mixed, x: mixed}, repeat: 2, carry: x}, c: {block: cross_v2, in: {x0: item, x: user}, rank: 2},"
    " d: {block: cross, in: {x0: user, x: item}}, top: 'concat(a, b, c, d)'}",
    "gates": "{a: {block: epnet, in: {x: mixed, domain: all}, hidden: 4}, b: {block: epnet, in: {x: user, domain: item}, hidden: 4},"
    " c: {block: ppnet, in: {x: all, domain: user}, hidden: [4, 4], gate_hidden: 4},"
    " d: {block: ppnet, in: {x: user, domain: mixed}, hidden: [4], gate_hidden: 4},"
    " e: {block: mask_block, in: {x: item, mask: user}, hidden: 4}, f: {block: mask_block, in: {x: user, mask: all}, hidden: 4},"
    " g: {block: masknet, in: all, blocks: 2, hidden: 4, mode: serial}, top: 'concat(a, b, c, d, e, f, g)'}",
    "experts": "{a: {block: mmoe, in: all, gates: [x, y], experts: 3, hidden: [4], gate_hidden: [3]},"
    " b: {block: mmoe, in: user, gates: [x], experts: 2, hidden: [4]}, c: {block: ple, in: [mixed, item], gates: [x, y], levels: 2,"
    " private: 1, shared: 2, hidden: [4]}, d: {block: aitm, in: {own: b.x, parents: [a.x, c.y]}},"
    " e: {block: fusion_tower, in: {user: b.x, item: a.y}, outputs: {z: 2}, hidden: [3]}, top: 'concat(d, e.z, c.x)'}",
    "copies": "{a: {block: mlp, in: all, hidden: [6], parallel: 3, join: mean}, b: {block: mlp, in: user, hidden: [24], repeat: 2, residual: true},"
    " c: {block: linear, in: item, out: 24, parallel: 2, join: stack}, d: {block: fm, in: c}, top: 'concat(a, b, d)'}",
    "computed together": "{a: {block: mlp, in: all, parallel: 2, join: sum, hidden: [4], kernel: stacked},"
    " b: {block: mlp, in: user, parallel: 2, join: sum, hidden: [4], kernel: stacked}, c: {block: mlp, in: item, hidden: [8]},"
    " d: {block: mlp, in: c, hidden: [4], kernel: stacked}, e: {block: mlp, in: i, hidden: [4], kernel: stacked},"
    " i: 'slice(item, 0, 8)', top: 'concat(a, b, d, e)'}",
    "regularized": "{a: {block: mlp, in: dropped, hidden: [4]}, b: {block: fm, in: dropped.fields}, top: 'concat(a, b)'}",
    "named like the method": "{score: {block: mlp, in: all, hidden: [4]}, rows: {block: mlp, in: user, hidden: [4]},"
    " asked: 'rows * 2', request: {block: mlp, in: [asked, item], hidden: [4]}, top: 'concat(score, request, asked)'}",
}


@pytest.mark.parametrize("name", CASES)
def test_every_form(name: str) -> None:
    text = f"{HEAD}graph: {CASES[name][:-1]}, {REST}}}\n{TASKS}"
    compiled, module = scorer(text)
    for count in (1, 4, 9):
        same(compiled, module, count)
    same(compiled, module, 3, longest=0)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_of_random_sides(seed: int, soak: bool) -> None:
    rng = random.Random(seed)
    text = random_recipe(rng.choice((5, 20, 60)) * (4 if soak else 1), rng)
    names = [line.split(":")[0].strip() for line in text.split("graph:\n")[1].splitlines()[:-1]]
    text += f"export: {{nodes: [{', '.join(names)}]}}\n"
    columns = ["i1", "i2", "past", "price", "u1", "u2"]
    ours = rng.sample(columns, rng.randint(1, 5))
    sides = [f"features.{c}.side={'user' if c in ours else 'item'}" for c in columns]
    compiled, module = scorer(text, sides)
    for count in (1, 3, 8):
        same(compiled, module, count)


def test_one_side_has_nothing_to_split() -> None:
    text = f"{HEAD}graph: {{top: {{block: linear, in: all, out: 4}}, {REST}}}\n{TASKS}"
    features = ["u1", "u2", "seen", "hour", "n_age", "past"]
    for side in ("item", "user"):
        all_alike = [f"features.{name}.side={side}" for name in (*features, "i1", "i2", "price")]
        all_alike += [f"features.{name}.side={side}" for name in ("n_cost", "near")]
        compiled = compile_recipe(text, overrides=all_alike, purpose="inference")
        assert compiled.source.score == "" and not compiled.graph.sides
        assert compiled.graph.scoring is None
    trained = compile_recipe(text)
    assert trained.source.score == "" and "def score" not in trained.source.text


def test_a_request_is_one_row_and_errors_name_their_node() -> None:
    text = f"{HEAD}graph: {{top: {{block: linear, in: all, out: 4}}, {REST}}}\n{TASKS}"
    compiled, module = scorer(text)
    request, candidates, tiled = one_request(compiled.graph, 2)
    with pytest.raises(ValueError, match="one row .* got 2 rows"):
        module.score(tiled, candidates)  # type: ignore[operator]
    module.get_submodule("top").weight = torch.nn.Parameter(torch.zeros(4, 5))
    with pytest.raises(RuntimeError) as caught:
        module.score(request, candidates)  # type: ignore[operator]
    assert "graphrec: in node 'top'" in "".join(caught.value.__notes__)


def test_weights_have_the_same_names_and_values() -> None:
    path = ROOT / "recipes" / "shop.yaml"
    ours = compile_recipe(path, overrides=small(path), purpose="inference").module().state_dict()
    theirs = compile_recipe(path, overrides=small(path)).module().state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_stacks_of_whole_tensors_run_together() -> None:
    text = f"{HEAD}graph: {CASES['computed together'][:-1]}, {REST}}}\n{TASKS}"
    source = compile_recipe(text, purpose="inference").source.text
    score = source[source.index("def score") :]
    together = re.findall(r"stacked\(\s*\[([\w., ]+)\]", score)
    assert sorted(together) == ["self.b_p0, self.b_p1", "self.d, self.e"]
    assert "a_p0 = self.a_p0(all_both)" in score  # split: one by one


@pytest.mark.parametrize("name", ["multi_tower_din", "deepfm"])
def test_what_the_request_says_is_computed_once(name: str, golden: Golden) -> None:
    compiled = compile_recipe(ROOT / "recipes" / f"{name}.yaml", purpose="inference")
    golden(f"generated/{name}_scoring.py", compiled.source.text)


@pytest.mark.parametrize("name", ["shop", "kuairand_mmoe_din", "feature_selection", "wukong"])
def test_generated_text_is_clean(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.py"
    compiled = compile_recipe(ROOT / "recipes" / f"{name}.yaml", purpose="inference")
    path.write_text(compiled.source.text)
    for command in (["format", "--check"], ["check"]):  # as ruff is where nobody set anything
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", str(path)]
        subprocess.run(ruff, check=True, capture_output=True, cwd=tmp_path)
