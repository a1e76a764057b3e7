"""`-o path=value`: the last word, as strict as the recipe itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

from graphrec.ground.errors import Span, render
from graphrec.recipe import Reading
from graphrec.recipe.model import IdFeature, NodeSpec, Recipe

Read = Callable[..., Reading]
Texts = Mapping[str, str]


def whole(reading: Reading) -> Recipe:
    assert not reading.problems, render(reading.problems, reading.sources)
    assert reading.recipe is not None
    return reading.recipe


def test_values_of_every_kind(read: Read, texts: Texts) -> None:
    recipe = whole(
        read(
            texts["dbmtl"],
            "train.batch=512",
            "train.lr.sparse=1e-1",
            "train.optim.dense={sgd: {momentum: 0.9}}",
            "graph.tower.hidden=[8, 4]",
            "graph.experts.kernel=torch",
            "tasks.ctr.loss=focal",
            "tasks.ctr.label={column: clicked}",
            "tasks.cvr.space.outside=0.5",
            "relations=[]",
            "features.price.dim=8",
            "features.user_id.vocab=fit",
            "name='10'",
            'kernels.by_node."tower.ctr"=torch',
        )
    )
    assert recipe.train.batch == 512
    assert (recipe.train.lr.dense, recipe.train.lr.sparse) == (1e-3, 0.1)
    assert recipe.train.optim.dense.momentum == 0.9
    tower, experts = recipe.graph["tower"], recipe.graph["experts"]
    assert isinstance(tower, NodeSpec) and isinstance(experts, NodeSpec)
    assert tower.params["hidden"] == [8, 4]
    assert experts.kernel == "torch"
    assert list(recipe.tasks["ctr"].loss) == ["focal"]
    assert recipe.tasks["ctr"].label is not None
    assert recipe.tasks["ctr"].label.column == "clicked"
    assert recipe.tasks["cvr"].space is not None
    assert (recipe.tasks["cvr"].space.label, recipe.tasks["cvr"].space.outside) == ("clk", 0.5)
    assert recipe.relations == ()
    user = recipe.features["user_id"]
    assert isinstance(user, IdFeature)
    assert (str(user.vocab), user.dim) == ("fit", 16)
    assert recipe.name == "10"
    assert recipe.kernels.by_node == {"tower.ctr": "torch"}
    assert recipe.origin is not None
    span = recipe.origin.value("features.price.dim")
    assert span is not None and (span.file, span.line) == (None, 10)


def test_one_feature_of_a_family(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["deepfm"], "features.C7.dim=4"))
    dims = {f.dim for n, f in recipe.features.items() if n != "C7" and f.type == "id"}
    changed = recipe.features["C7"]
    assert isinstance(changed, IdFeature)
    assert (changed.dim, dims) == (4, {16})


def test_defaults_reach_features_after_overrides(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["dbmtl"], "defaults.feature.dim=4", "features.pid.dim=8"))
    dims = {n: f.dim for n, f in recipe.features.items() if isinstance(f, IdFeature)}
    assert (dims["brand"], dims["pid"]) == (4, 8)


def test_features_are_added_changed_and_deleted(read: Read, texts: Texts) -> None:
    recipe = whole(
        read(
            texts["dbmtl"],
            "features+=[{type: dense, names: age}, {names: [brand, pid], dim: 4}]",
            "features.price=null",
        )
    )
    assert recipe.features["age"].type == "dense"
    assert "price" not in recipe.features
    brand = recipe.features["brand"]
    assert isinstance(brand, IdFeature)
    assert brand.dim == 4


def test_a_new_node_and_task(read: Read, texts: Texts) -> None:
    recipe = whole(
        read(texts["dbmtl"], "graph.extra=sum(mask)", "tasks.third={label: x, logit: extra}")
    )
    assert recipe.graph["extra"] == "sum(mask)"
    assert recipe.tasks["third"].logit == "extra"


def test_defaults_follow_the_kind(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["deepfm"], "tasks.ctr.kind=regression"))
    assert list(recipe.tasks["ctr"].loss) == ["l2"]
    assert [str(m) for m in recipe.tasks["ctr"].metrics] == ["mse", "mae"]


def test_data_replaces_synthetic_rows(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["everything"], "data.train=rows/*.csv"))
    assert recipe.data.synthetic is None
    assert recipe.data.train == (os.path.join(os.getcwd(), "rows/*.csv"),)
    changed = whole(read(texts["deepfm"], "data.train=rows/*.csv"))
    assert changed.data.eval == whole(read(texts["deepfm"])).data.eval != ()
    recipe = whole(read(texts["deepfm"], "data.synthetic=500"))
    assert (recipe.data.synthetic, recipe.data.train, recipe.data.eval) == (500, (), ())


def test_paths_start_where_they_are_written(
    read: Read, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphrec.recipe import read_recipe

    read(texts["deepfm"])
    here = os.getcwd()
    os.mkdir("inner")
    monkeypatch.chdir("inner")
    recipe = read_recipe("../r.yaml", ["data.eval=x.csv"])
    assert recipe.data.train == (os.path.join(here, "criteo/train/*.parquet"),)
    assert recipe.data.eval == (os.path.join(here, "inner", "x.csv"),)


def test_later_ones_win(read: Read, texts: Texts) -> None:
    assert whole(read(texts["deepfm"], "train.batch=1", "train.batch=2")).train.batch == 2


@pytest.mark.parametrize(
    ("override", "code", "said"),
    [
        ("train.bacth=1", "GR203", "unknown key `bacth` under train; did you mean `batch`?"),
        ("trian.batch=1", "GR203", "unknown key `trian`; did you mean `train`?"),
        ("graph.towr.hidden=[1]", "GR203", "no node `towr`; did you mean `tower`?"),
        ("features.prise.dim=1", "GR203", "no feature `prise`; did you mean `price`?"),
        ("features.price.dmi=1", "GR203", "unknown key `dmi` under features.price; did you mean"),
        ("tasks.ctrr.weight=1", "GR203", "no task `ctrr`; did you mean `ctr`?"),
        ("train.batch=x", "GR202", "expected an integer, got text `x`"),
        ("train={batch: x}", "GR202", "train.batch: expected an integer, got text `x`"),
        ("train.batch.x=1", "GR203", "train.batch is 8192, it has no `x`"),
        ("relations.0.hidden=[1]", "GR203", "replace the whole of it:  -o relations=..."),
        ("train.epochs=[", "GR101", "closing bracket"),
        ("data.train=*.csv", "GR101", "quote a text that starts with `*`"),
        ("train.batch=.nan", "GR109", "finite"),
        ("train.nothing=null", "GR203", "null deletes, but there is no `nothing`"),
        ("train.batch", "GR203", "expected path=value, got no `=`"),
        ("=3", "GR203", "expected a path"),
        ("train..batch=3", "GR203", "expected a path"),
        ("train.=3", "GR203", "expected a path"),
        ("name=", "GR203", "the value is missing"),
        ("extends=x.yaml", "GR203", "extends can't be overridden"),
        ("features+=3", "GR203", "expected a list of families"),
        ("features=3", "GR202", "expected a list of families"),
        ("train.steps=3", "GR205", "say one of them"),
    ],
)
def test_what_is_refused(override: str, code: str, said: str, read: Read, texts: Texts) -> None:
    reading = read(texts["dbmtl"], "train.seed=1", override)
    assert [p.code for p in reading.problems] == [code]
    [problem] = reading.problems
    shown = render([problem])
    assert shown.startswith(f"error {code}  -o {override}: ")
    assert said in shown
    assert problem.path == f"-o {override}"
    assert isinstance(problem.span, Span)
    assert (problem.as_json()["file"], problem.as_json()["line"]) == (None, 2)
