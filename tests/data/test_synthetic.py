"""Generated rows: the same everywhere, for any recipe, with labels as learnable as it says."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from graphrec.data import Encoder, Loader, open_data
from graphrec.data.labels import _auc, _normal_cdf
from graphrec.data.planted import TASTES
from graphrec.data.synthetic import SyntheticSource
from graphrec.recipe import read_recipe

ROOT = Path(__file__).resolve().parent.parent.parent

EVERY_KIND = """
- {type: id, names: user, group: user, vocab: hash(1_000_000)}
- {type: id, names: item, group: item, vocab: fit}
- {type: id, names: brand, group: item, vocab: file(brands.txt)}
- {type: id, names: age, vocab: 7, default: 0}
- {type: id, names: tags, vocab: 50, pool: sum, weights: w}
- {type: id, names: texts, vocab: 50, pool: mean, sep: '|'}
- {type: dense, names: price, transform: log1p}
- {type: dense, names: z, transform: zscore}
- {type: dense, names: m, transform: minmax}
- {type: dense, names: v, width: 3}
- {type: bucket, names: q, edges: quantile(10)}
- {type: bucket, names: e, edges: [0, 1, 5]}
- {type: cross, name: both, of: [user, item], vocab: hash(10_000)}
- {type: sequence, name: seen, of: [item, price, q], max_len: 12}
- {type: sequence, name: told, of: [brand], max_len: 5, sep: ','}
"""
TASKS = """
click: {label: click, in: top, metrics: [auc, gauc(user), gauc(session)]}
buy: {label: buy, in: top, space: click, sample_weight: sw}
late: {label: late, in: top, space: {label: promoted, inside: 2, outside: 1}}
stars: {label: stars, in: top, kind: multiclass, classes: 5}
like: {label: {column: rating, above: 3.5}, in: top}
rating: {label: rating, in: top, kind: regression}
time: {label: {column: seconds, transform: log1p}, in: top, kind: regression}
"""
RELATIONS = "relations: ['click -> late']"


@pytest.fixture
def every_kind(recipe_of, tmp_path: Path):
    """A recipe with every kind of feature and task, on some generated rows."""

    def make(rows: int = 4_000):
        brands = "\n".join(f"brand {i}" for i in range(40))
        (tmp_path / "brands.txt").write_text(brands, encoding="utf-8")
        return recipe_of(EVERY_KIND, TASKS, f"{{synthetic: {rows}}}", RELATIONS)

    return make


def read(source: SyntheticSource) -> pa.Table:
    batches = [raw.table for unit in source.units() for raw in source.read(unit)]
    return pa.Table.from_batches(batches)


def test_the_same_rows_every_time(every_kind) -> None:
    one, other = open_data(every_kind()), open_data(every_kind())
    assert read(one.train).equals(read(other.train))
    assert one.fingerprint == other.fingerprint != one.eval.fingerprint
    assert one.fingerprint != open_data(every_kind(5_000)).fingerprint


def test_any_recipe_trains_on_them(every_kind) -> None:
    recipe = every_kind()
    data = open_data(recipe)
    assert (data.train.num_rows, data.eval.num_rows) == (3_600, 400)
    encoder = Encoder.fit(recipe, data.train)
    loader = Loader(recipe, encoder, data.train, 256, shuffle=True, workers=2)
    rows = 0
    for batch in loader.epoch(0):
        rows += batch.num_rows
        for name, value in batch.features.items():
            table = encoder.plan.fields and encoder.rows.get(name)
            if table:
                values = value.values if hasattr(value, "lengths") else value
                assert int(values.min()) >= 0 and int(values.max()) < table
    assert rows == loader.counts.trained == loader.counts.read == 3_600
    assert loader.counts.quarantined == 0
    shares = loader.counts.unseen_rates()
    assert shares["brand"] == 0 and shares["tags"] == 0


def test_held_out_rows_come_after_the_others(every_kind) -> None:
    small = open_data(every_kind(1_000))
    assert (small.train.num_rows, small.eval.num_rows) == (900, 100)
    assert not read(small.train).slice(0, 100).equals(read(small.eval))


@pytest.mark.parametrize("rows", [2, 9, 11])
def test_few_rows(every_kind, rows) -> None:
    data = open_data(every_kind(rows))
    assert (data.train.num_rows, data.eval.num_rows) == (rows - 1, 1)
    assert read(data.train).num_rows == rows - 1


def test_labels_are_gated(every_kind) -> None:
    table = read(open_data(every_kind(20_000)).train)
    click, buy = (table[name].to_numpy() for name in ("click", "buy"))
    late, promoted = (table[name].to_numpy() for name in ("late", "promoted"))
    assert not buy[click == 0].any() and not late[(click == 0) | (promoted == 0)].any()
    assert 0.25 < click.mean() < 0.35 and 0.07 < buy.mean() < 0.12
    assert 0.25 < buy[click == 1].mean() < 0.35


def test_ids_are_zipf_with_nulls_and_numbers_are_related(every_kind) -> None:
    table = read(open_data(every_kind(20_000)).train)
    counts = np.sort(table["user"].combine_chunks().value_counts().field("counts").to_numpy())
    assert counts[-1] > 20 * np.median(counts)
    assert len(counts) > 1_000
    assert (
        abs(np.corrcoef(np.log(table["price"].fill_null(1)), table["z"].fill_null(10))[0, 1]) > 0.2
    )
    nulls = {name: table[name].null_count for name in table.schema.names}
    assert max(nulls.values()) < 0.1 * table.num_rows


def test_the_best_reachable_scores_are_those_of_the_true_probabilities(every_kind) -> None:
    source = open_data(every_kind(40_000)).train
    truth = source.held_out._truths
    best = {task: source.best(task) for task in source.recipe.tasks}
    click, buy = truth["click"], truth["buy"]
    assert best["click"]["auc"] == pytest.approx(roc_auc_score(click.values, click.mean))
    inside = click.values > 0
    expected = roc_auc_score(buy.values[inside], buy.own[inside])
    assert best["buy"]["auc"] == pytest.approx(expected)
    overall = source.best("buy", inside=False)["auc"]
    assert overall == pytest.approx(roc_auc_score(buy.values, buy.mean)) and overall > expected
    # Calibrated: the labels are drawn from the probabilities that are said.
    for name in ("click", "buy", "late"):
        bins = np.digitize(truth[name].mean, np.linspace(0, 1, 6))
        for i in np.unique(bins):
            said, drawn = truth[name].mean[bins == i], truth[name].values[bins == i]
            spread = 4 * np.sqrt((said * (1 - said)).sum()) / len(said) + 1e-9
            assert abs(said.mean() - drawn.mean()) < spread
    assert best["rating"]["mse"] == pytest.approx(0.49, rel=0.1)
    assert best["time"]["mse"] == pytest.approx(0.49, rel=0.1)
    assert 0.8 < best["like"]["auc"] < 0.99
    assert 0.4 < best["stars"]["accuracy"] < 0.95


def test_no_peeking_at_what_a_model_cannot_see(every_kind) -> None:
    """Scores are functions of the columns: equal columns, equal scores."""
    source = open_data(every_kind()).train
    _, drawn, truth = source._draw(0, 500)
    again = source._labels[0].scores[0].standard(drawn)
    assert (again == source._labels[0].scores[0].standard(drawn)).all()
    assert set(drawn.ids) == {"user", "item", "brand", "age"}
    assert set(drawn.numbers) == {"price", "z", "m", "v", "q", "e"}
    assert set(drawn.matches) == {"seen", "told"}
    assert np.isfinite(truth["click"].mean).all()


def test_labels_can_be_learned_from_the_encoded_rows() -> None:
    """Additive and history parts, by counting: most of the way to the best reachable AUC."""
    recipe = read_recipe(ROOT / "recipes" / "shop.yaml", ["data.synthetic=50_000"])
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)

    def matrix(source: SyntheticSource) -> tuple[np.ndarray, np.ndarray]:
        """One-hot ids, the mean one-hot step, the share of steps with the target's taste, price."""
        parts, labels = [], []
        for batch in Loader(recipe, encoder, source, 10_000, shuffle=False).epoch(0):
            rows = {k: v.numpy() for k, v in batch.features.items() if not hasattr(v, "lengths")}
            clicked = batch.features["clicked.category"]
            values, lengths = clicked.values.numpy(), clicked.lengths.numpy()
            step, count = np.repeat(np.arange(len(lengths)), lengths), np.maximum(lengths, 1)
            mean = np.zeros((len(lengths), 201))
            np.add.at(mean, (step, values), 1 / count[step])
            taste = values % TASTES == rows["category"][step] % TASTES
            match = np.bincount(step, taste, len(lengths)) / count
            hot = [np.eye(26)[rows[name]] for name in ("gender", "device", "age_level", "hour")]
            price = rows["price"] - 3
            numbers = [match[:, None], price, np.tanh(price), np.tanh(price**2)]
            parts.append(np.hstack([*hot, mean, *numbers]))
            labels.append(batch.labels["click"].numpy())
        return np.vstack(parts), np.concatenate(labels)

    model = LogisticRegression(max_iter=300).fit(*matrix(data.train))
    rows, labels = matrix(data.eval)
    found = roc_auc_score(labels, model.predict_proba(rows)[:, 1])
    best = data.train.best("click")["auc"]
    assert 0.85 < best < 0.93
    assert best - 0.035 < found <= best + 0.005


def test_generation_is_fast() -> None:
    recipe = read_recipe(ROOT / "recipes" / "shop.yaml")
    begun = time.process_time()
    source = SyntheticSource(recipe, 200_000)
    rows = sum(raw.table.num_rows for unit in source.units() for raw in source.read(unit))
    assert rows == 180_000
    assert time.process_time() - begun < 3


def test_auc_and_normal_distribution() -> None:
    random = np.random.default_rng(0)
    scores, labels = random.integers(0, 9, 500), random.integers(0, 2, 500)
    assert _auc(scores, labels > 0) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert np.isnan(_auc(scores, np.zeros(500, bool)))
    assert _normal_cdf(np.array([-1.96, 0.0, 1.0])) == pytest.approx(
        [0.0249979, 0.5, 0.8413447], abs=1e-6
    )


@pytest.mark.parametrize("inner", ["", ", sep: ';'"])
@pytest.mark.parametrize("outer", ["", ", sep: '|'"])
def test_histories_of_several_values_in_any_form(recipe_of, inner, outer) -> None:
    features = f"""
- {{type: id, names: tags, vocab: 9, pool: sum{inner}}}
- {{type: dense, names: place, width: 2{inner}}}
- {{type: sequence, name: s, of: [tags, place], max_len: 5{outer}}}
"""
    recipe = recipe_of(features, data="{synthetic: 100}")
    source = open_data(recipe).train
    [batch] = Loader(recipe, Encoder.fit(recipe, source), source, 1000, shuffle=False).epoch(0)
    assert batch.features["s.place"].values.shape[1:] == (2,)
