"""The kinds of mistakes: each makes one, somewhere in a recipe, and knows what should be said."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mistake_texts import Mistake, Recipe, Spot, typo

Kind = Callable[[Recipe, random.Random], Mistake | None]
KINDS: dict[str, tuple[str, Kind]] = {}
FULL = ("hidden", "batch", "vocab", "dim", "width", "heads", "experts", "blocks", "seed", "epochs")


def kind(family: str) -> Callable[[Kind], Kind]:
    def keep(make: Kind) -> Kind:
        KINDS[make.__name__] = (family, make)
        return make

    return keep


# ---- helpers ------------------------------------------------------------------------------------


def pick(spots: Sequence[Spot], rng: random.Random) -> Spot | None:
    return rng.choice(list(spots)) if spots else None


def start(spot: Spot) -> tuple[str, int]:
    """Where the value stands."""
    return spot.file, spot.node.start_mark.index


def at_key(spot: Spot) -> tuple[str, int]:
    assert spot.key is not None
    return spot.file, spot.key.start_mark.index


def key_typo(recipe: Recipe, spots: Sequence[Spot], rng: random.Random) -> Mistake | None:
    spot = pick([s for s in spots if s.key is not None and len(str(s.path[-1])) > 3], rng)
    if spot is None:
        return None
    word = str(spot.path[-1])
    wrong = typo(word.removesuffix("+"), rng) + ("+" if word.endswith("+") else "")
    if any(s.path == (*spot.path[:-1], wrong) for s in recipe.spots):
        return None
    mend = (f"`{word.removesuffix('+')}`",)
    return Mistake((recipe.rename_key(spot, wrong),), at_key(spot), wrong, mend)


def value_typo(
    recipe: Recipe, spots: Sequence[Spot], rng: random.Random, word: str = ""
) -> Mistake | None:
    """A slip in a value (or in one word of it)."""
    spot = pick([s for s in spots if isinstance(s.node.value, str) and word in s.text], rng)
    if spot is None or len(word or spot.text) < 3:
        return None
    old = word or spot.text
    wrong = typo(old, rng)
    text = spot.text.replace(old, wrong, 1)
    return Mistake((recipe.put(spot.node, spot.file, text),), start(spot), wrong, (f"`{old}`", old))


def wrong_value(
    recipe: Recipe, spot: Spot | None, text: str, culprit: str, *mend: str
) -> Mistake | None:
    if spot is None:
        return None
    return Mistake((recipe.put(spot.node, spot.file, text),), start(spot), culprit, mend)


def added(
    recipe: Recipe, parent: Spot | None, text: str, culprit: str, *mend: str
) -> Mistake | None:
    if parent is None or not hasattr(parent.node, "flow_style") or not parent.node.value:
        return None
    edit, at = recipe.with_key(parent, text)
    return Mistake((edit,), at, culprit, mend)


def new_node(recipe: Recipe, line: str, culprit: str, *mend: str) -> Mistake | None:
    made = recipe.add_to("graph", line)
    return Mistake((made[0],), made[1], culprit, mend) if made else None


def missing(
    recipe: Recipe, spot: Spot | None, culprit: str, *mend: str, where: Spot | None = None
) -> Mistake | None:
    if spot is None:
        return None
    edit = recipe.without(spot)
    parent = next(recipe.parents(spot))
    if edit is None:
        return None
    place = at_key(where or parent) if (where or parent).key is not None else start(parent)
    return Mistake((edit,), place, culprit, mend, also=(start(parent),))


def blocks(recipe: Recipe, *names: str) -> list[Spot]:
    """The nodes that use one of these blocks."""
    found = []
    for spot in recipe.find("graph", "*", "block"):
        if spot.text in names:
            found.extend(recipe.parents(spot))
    return found


def inside(recipe: Recipe, parent: Spot | None, key: str) -> Spot | None:
    if parent is None:
        return None
    found = [s for s in recipe.spots if s.file == parent.file and s.path == (*parent.path, key)]
    return found[0] if found else None


def references(recipe: Recipe) -> list[Spot]:
    """Every text in `in:` of a node that is a plain node or group name."""
    known = {*recipe.names("graph"), *recipe.names("groups")}
    spots = [*recipe.find("graph", "*", "in"), *recipe.find("graph", "*", "in", "*")]
    return [s for s in spots if isinstance(s.node.value, str) and s.text in known]


def families(recipe: Recipe, *types: str) -> list[Spot]:
    found = []
    for spot in recipe.find("features", "*", "type"):
        if spot.text in types:
            found.extend(recipe.parents(spot))
    return found


def says(recipe: Recipe, name: str) -> bool:
    """Whether some key or value is this word (or the range that begins with it)."""
    words = {str(s.path[-1]) for s in recipe.spots if s.path}
    values = {s.node.value for s in recipe.spots if isinstance(s.node.value, str)}
    return name in words | values or any(v.startswith(f"{name}..") for v in values)


def plain(recipe: Recipe) -> bool:
    """Whether tasks have no relations or probabilities between them."""
    return not recipe.find("relations") and not recipe.find("tasks", "*", "prob")


# ---- typos at every level -----------------------------------------------------------------------


@kind("typo")
def top_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, [s for s in recipe.find("*") if s.path[0] != "meta"], rng)


@kind("typo")
def family_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, recipe.find("features", "*", "*"), rng)


@kind("typo")
def family_type(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("features", "*", "type"), rng)


@kind("typo")
def vocab_function(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = recipe.find("features", "*", "vocab") + recipe.find("features", "*", "names", "*")
    return value_typo(recipe, spots, rng, "hash")


@kind("typo")
def transform_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("features", "*", "transform"), rng)


@kind("typo")
def sequence_member(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        s
        for f in families(recipe, "sequence")
        for s in recipe.spots
        if s.file == f.file and s.path[:-1] == (*f.path, "of")
    ]
    return value_typo(recipe, spots, rng)


@kind("typo")
def query_member(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("groups", "*", "query", "*"), rng)


@kind("typo")
def keys_of_group(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("groups", "*", "keys"), rng)


@kind("typo")
def group_member(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [s for s in recipe.find("groups", "*", "*") if s.key is None]
    return value_typo(recipe, spots, rng)


@kind("typo")
def group_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, [s for s in recipe.find("groups", "*", "*") if s.key], rng)


@kind("typo")
def block_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("graph", "*", "block"), rng)


@kind("typo")
def node_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, recipe.find("graph", "*", "*"), rng)


@kind("typo")
def node_reference(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, references(recipe), rng)


@kind("typo")
def group_port(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        s
        for s in [*recipe.find("graph", "*", "in"), *recipe.find("graph", "*", "in", "*")]
        if isinstance(s.node.value, str)
    ]
    return value_typo(recipe, spots, rng, rng.choice(["fields", "keys", "query"]))


@kind("typo")
def input_port(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [s for s in recipe.find("graph", "*", "in", "*") if s.key is not None]
    return key_typo(recipe, spots, rng)


@kind("typo")
def each_word(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("graph", "*", "each"), rng, "tasks")


@kind("typo")
def activation_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    node = pick(blocks(recipe, "mlp"), rng)
    if inside(recipe, node, "activation"):
        return None
    wrong = typo("sigmoid", rng)  # one letter less makes `relu` another activation
    return added(recipe, node, f"activation: {wrong}", wrong, "sigmoid")


@kind("typo")
def kernel_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    node = pick(blocks(recipe, "mlp", "mmoe"), rng)
    if inside(recipe, node, "kernel"):
        return None
    wrong = typo("triton", rng)
    return added(recipe, node, f"kernel: {wrong}", wrong, "triton")


@kind("typo")
def kernel_of_block(recipe: Recipe, rng: random.Random) -> Mistake | None:
    if recipe.find("kernels"):
        return None
    edit, at = recipe.top("kernels: {by_block: {mpl: torch}}\n")
    return Mistake((edit,), at, "mpl", ("mlp",))


@kind("typo")
def kernel_of_node(recipe: Recipe, rng: random.Random) -> Mistake | None:
    name = rng.choice(recipe.names("graph"))
    if recipe.find("kernels"):
        return None
    wrong = typo(name, rng)
    if any(n.startswith(wrong) for n in recipe.names("graph")):
        return None
    edit, at = recipe.top(f"kernels: {{by_node: {{{wrong}: torch}}}}\n")
    return Mistake((edit,), at, wrong, (name,))


@kind("typo")
def kernels_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    word = rng.choice(["default", "by_block", "policy"])
    if recipe.find("kernels"):
        return None
    wrong = typo(word, rng)
    edit, at = recipe.top(f"kernels: {{{wrong}: torch}}\n")
    return Mistake((edit,), at, wrong, (f"`{word}`",))


@kind("typo")
def task_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(
        recipe, [s for s in recipe.find("tasks", "*", "*") if len(str(s.path[-1])) > 3], rng
    )


@kind("typo")
def task_input(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("tasks", "*", "in"), rng)


@kind("typo")
def task_kind(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("tasks", "*", "kind"), rng)


@kind("typo")
def loss_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    task = pick(
        [
            t
            for t in recipe.find("tasks", "*")
            if not inside(recipe, t, "loss")
            and not inside(recipe, t, "kind")
            and not inside(recipe, t, "prob")
        ],
        rng,
    )
    wrong = typo("focal", rng)
    return added(recipe, task, f"loss: {wrong}", wrong, "focal")


@kind("typo")
def loss_parameter(recipe: Recipe, rng: random.Random) -> Mistake | None:
    task = pick(
        [
            t
            for t in recipe.find("tasks", "*")
            if not inside(recipe, t, "loss")
            and not inside(recipe, t, "kind")
            and not inside(recipe, t, "prob")
        ],
        rng,
    )
    wrong = typo("gamma", rng)
    return added(recipe, task, f"loss: {{focal: {{{wrong}: 2}}}}", wrong, "gamma")


@kind("typo")
def metric_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    task = pick(
        [
            t
            for t in recipe.find("tasks", "*")
            if not inside(recipe, t, "metrics")
            and not inside(recipe, t, "kind")
            and inside(recipe, t, "label")
        ],
        rng,
    )
    wrong = typo("logloss", rng)
    return added(recipe, task, f"metrics: [auc, {wrong}]", wrong, "logloss")


@kind("typo")
def relation_member(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = recipe.find("relations", "*")
    spot = pick(spots, rng)
    if spot is None:
        return None
    task = rng.choice(recipe.names("tasks"))
    wrong = typo(task, rng)
    if isinstance(spot.node.value, str):
        text = spot.text
        node = spot.node
    else:
        node = spot.node.value[0][0]
        text = node.value
    if task not in text or wrong in recipe.names("tasks"):
        return None
    return Mistake(
        (recipe.put(node, spot.file, text.replace(task, wrong, 1)),),
        (spot.file, node.start_mark.index),
        wrong,
        (f"`{task}`",),
    )


@kind("typo")
def relation_parameter(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, recipe.find("relations", "*", "*", "*"), rng)


@kind("typo")
def relation_via(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("relations", "*", "*", "via"), rng)


@kind("typo")
def train_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, recipe.find("train", "*"), rng)


@kind("typo")
def optimizer_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    train = pick([s for s in recipe.find("train") if not inside(recipe, s, "optim")], rng)
    word = rng.choice(["adam", "adagrad", "sgd"])
    wrong = typo(word, rng)
    if wrong in ("adam", "adamw", "adagrad", "sgd"):
        return None
    return added(recipe, train, f"optim: {{dense: {wrong}}}", wrong, word)


@kind("typo")
def schedule_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    train = pick(recipe.find("train"), rng)
    wrong = typo("warmup", rng)
    return added(recipe, train, f"schedule: {{cosine: {{{wrong}: 10}}}}", wrong, "warmup")


@kind("typo")
def saved_metric(recipe: Recipe, rng: random.Random) -> Mistake | None:
    if (
        recipe.find("tasks", "*", "metrics")
        or recipe.find("tasks", "*", "kind")
        or recipe.find("train", "save")
    ):
        return None
    task = next((t for t in recipe.find("tasks", "*") if inside(recipe, t, "label")), None)
    train = pick(recipe.find("train"), rng)
    if task is None:
        return None
    wrong = f"{task.path[1]}.{typo('auc', rng)}"
    return added(recipe, train, f"save: {{best: {wrong}}}", wrong, f"{task.path[1]}.auc")


@kind("typo")
def data_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, recipe.find("data", "*"), rng)


@kind("typo")
def defaults_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, [*recipe.find("defaults", "*")], rng)


@kind("typo")
def extended_file(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return value_typo(recipe, recipe.find("extends"), rng, "base")


@kind("typo")
def expression_function(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [*recipe.find("graph", "*"), *recipe.find("tasks", "*", "logit")]
    return value_typo(recipe, [s for s in spots if "sum(" in str(s.node.value)], rng, "sum")


@kind("typo")
def expression_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [*recipe.find("graph", "*"), *recipe.find("tasks", "*", "logit")]
    spots = [s for s in spots if isinstance(s.node.value, str)]
    names = [n for n in recipe.names("graph") if len(n) > 3 and any(n in s.text for s in spots)]
    if not names:
        return None
    return value_typo(recipe, spots, rng, rng.choice(names))


@kind("typo")
def probability_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(recipe.find("tasks", "*", "prob"), rng)
    if spot is None:
        return None
    old = spot.text.split(".")[0]
    wrong = typo(old, rng)
    if wrong in recipe.names("tasks"):
        return None
    text = spot.text.replace(old, wrong, 1)
    return Mistake((recipe.put(spot.node, spot.file, text),), start(spot), wrong, (f"{old}.prob",))


@kind("typo")
def composite_parameter(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        s
        for s in recipe.find("blocks", "*", "graph", "*", "*")
        if str(s.node.value).startswith("$")
    ]
    spot = pick(spots, rng)
    if spot is None:
        return None
    word = spot.text[1:]
    wrong = typo(word, rng)
    return Mistake(
        (recipe.put(spot.node, spot.file, f"${wrong}"),), start(spot), wrong, (f"`{word}`",)
    )


@kind("typo")
def composite_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return key_typo(recipe, recipe.find("blocks", "*", "*"), rng)


# ---- wrong order, wrong types, missing things ---------------------------------------------------


@kind("type")
def word_for_number(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(
        recipe, pick(recipe.find("train", "batch"), rng), "many", "many", "an integer"
    )


@kind("type")
def quoted_number(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(
        recipe, pick(recipe.find("train", "batch"), rng), '"512"', "512", "an integer"
    )


@kind("type")
def boolean_for_number(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [*recipe.find("train", "seed"), *recipe.find("features", "*", "dim")]
    return wrong_value(recipe, pick(spots, rng), "true", "true", "an integer")


@kind("type")
def yes_for_true(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return added(recipe, pick(blocks(recipe, "mlp"), rng), "bias: yes", "yes", "`true`")


@kind("type")
def fraction_for_width(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = recipe.find("graph", "*", "hidden", "*")
    return wrong_value(recipe, pick(spots, rng), "64.5", "64.5", "an integer")


@kind("type")
def negative_width(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = recipe.find("graph", "*", "hidden", "*")
    return wrong_value(recipe, pick(spots, rng), "-8", "-8", "above 0")


@kind("type")
def zero_rows(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [s for s in recipe.find("features", "*", "names", "*") if str(s.node.value).isdigit()]
    return wrong_value(recipe, pick(spots, rng), "0", "0", "above 0")


@kind("type")
def number_for_list(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [inside(recipe, n, "hidden") for n in blocks(recipe, "mlp", "din", "mmoe")]
    return wrong_value(recipe, pick([s for s in spots if s], rng), "64", "64", "a list")


@kind("type")
def list_for_number(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(
        recipe, pick(recipe.find("train", "batch"), rng), "[512]", "a list", "an integer"
    )


@kind("type")
def map_for_features(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [s for s in recipe.find("tasks", "*", "in") if isinstance(s.node.value, str)]
    return wrong_value(recipe, pick(spots, rng), "{x: y}", "a map", "a text")


@kind("type")
def dropout_above_one(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [n for n in blocks(recipe, "mlp") if not inside(recipe, n, "dropout")]
    return added(recipe, pick(nodes, rng), "dropout: 1.5", "1.5", "below 1")


@kind("type")
def dropout_per_layer(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [n for n in blocks(recipe, "mlp") if len(inside(recipe, n, "hidden").node.value) != 3]
    return added(recipe, pick(nodes, rng), "dropout: [0.1, 0.1, 0.1]", "dropout", "hidden layers")


@kind("type")
def heads_that_do_not_divide(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        spot
        for node in blocks(recipe, "self_attention")
        if (spot := inside(recipe, node, "heads")) is not None
    ]
    return wrong_value(recipe, pick(spots, rng), "7", "7 heads", "multiple")


@kind("type")
def descending_edges(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [s for s in recipe.find("features", "*", "edges") if s.node.value]
    return wrong_value(recipe, pick(spots, rng), "[1, 5, 3]", "3", "ascend")


@kind("type")
def value_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(recipe.find("train", "batch"), rng)
    return wrong_value(recipe, spot, "", "batch", "write a value")


@kind("type")
def other_version(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(recipe, recipe.one("graphrec"), "2", "2", "graphrec: 1")


@kind("missing")
def parameter_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [n for n in blocks(recipe, "mlp", "din", "mmoe") if not inside(recipe, n, "out")]
    return missing(recipe, inside(recipe, pick(nodes, rng), "hidden"), "hidden", "hidden")


@kind("missing")
def block_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return missing(recipe, pick(recipe.find("graph", "*", "block"), rng), "block", "`block`")


@kind("missing")
def input_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return missing(recipe, pick(recipe.find("graph", "*", "in"), rng), "in", "in:")


@kind("missing")
def vocab_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return missing(
        recipe, pick(recipe.find("features", "*", "vocab"), rng), "vocab", "hash(N)", "rows"
    )


@kind("missing")
def length_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return missing(recipe, pick(recipe.find("features", "*", "max_len"), rng), "max_len", "history")


@kind("missing")
def label_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = list(recipe.find("tasks", "*", "label"))
    return missing(recipe, pick(spots, rng), "label", "label")


@kind("missing")
def task_source_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return missing(recipe, pick(recipe.find("tasks", "*", "in"), rng), "in", "logit", "in:")


@kind("missing")
def version_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = next(s for s in recipe.spots if s.path == ("graphrec",))
    edit = recipe.without(spot)
    if edit is None or len(recipe.files) > 1:
        return None
    return Mistake((edit,), (spot.file, 0), "graphrec", ("graphrec: 1",))


@kind("missing")
def carry_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [n for n in blocks(recipe, "cross", "cross_v2") if inside(recipe, n, "carry")]
    return missing(recipe, inside(recipe, pick(nodes, rng), "carry"), "carry", "carry: x")


@kind("missing")
def port_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [s for s in recipe.find("graph", "*", "in", "*") if s.key is not None]
    spot = pick(spots, rng)
    if spot is None:
        return None
    return missing(recipe, spot, str(spot.path[-1]), f"{spot.path[-1]}:")


# ---- cycles -------------------------------------------------------------------------------------


@kind("cycle")
def node_reads_itself(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("graph", "*", "in") if isinstance(s.node.value, str)], rng)
    if spot is None:
        return None
    name = str(spot.path[1])
    made = wrong_value(recipe, spot, f"[{spot.text}, {name}]", name, "repeat")
    return Mistake(
        made.edits, at_key(next(recipe.parents(spot))), name, made.mend, also=(start(spot),)
    )


@kind("cycle")
def nodes_in_a_circle(recipe: Recipe, rng: random.Random) -> Mistake | None:
    for spot in recipe.find("graph", "*", "in"):
        source = spot.text if isinstance(spot.node.value, str) else ""
        first = recipe.one("graph", source, "in")
        if first is not None and isinstance(first.node.value, str):
            edit = recipe.put(first.node, first.file, f"[{first.text}, {spot.path[1]}]")
            places = [at_key(next(recipe.parents(s))) for s in (spot, first)]
            return Mistake(
                (edit,), places[0], str(spot.path[1]), ("cycle",), also=(places[1], start(first))
            )
    return None


@kind("cycle")
def relations_in_a_circle(recipe: Recipe, rng: random.Random) -> Mistake | None:
    names = recipe.names("tasks")
    if recipe.find("relations") or len(recipe.find("tasks", "*", "in")) < 2 or not plain(recipe):
        return None
    first, second = [s.path[1] for s in recipe.find("tasks", "*", "in")][:2]
    edit, at = recipe.top(f"relations: [{first} -> {second}, {second} -> {first}]\n")
    return Mistake((edit,), at, "cycle", (f"{min(first, second)} (line",)) if names else None


@kind("cycle")
def groups_in_a_circle(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("groups", "*") if s.node.id == "sequence"], rng)
    if spot is None:
        return None
    name = str(spot.path[1])
    edit = recipe.put(spot.node.value[0], spot.file, name)
    return Mistake((edit,), start(spot), name, ("cycle",), also=(at_key(spot),))


@kind("cycle")
def extends_itself(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(recipe, recipe.one("extends"), recipe.main, recipe.main, "circle")


# ---- widths and shapes --------------------------------------------------------------------------


@kind("shape")
def unequal_fields(recipe: Recipe, rng: random.Random) -> Mistake | None:
    uses = [s for s in [*recipe.find("graph", "*", "in")] if str(s.node.value) == "all.fields"]
    spot = pick(uses, rng)
    name = next((n for n in ("price", "C1", "item_id") if says(recipe, n)), None)
    base = recipe.find("features")
    if spot is None or name is None or not base:
        return None
    made = recipe.add_to("features", "- {type: id, names: an_odd_one, vocab: 10, dim: 4}")
    return Mistake((made[0],), start(spot), "an_odd_one", ("dim 16", "except")) if made else None


@kind("shape")
def fields_wanted(recipe: Recipe, rng: random.Random) -> Mistake | None:
    uses = [s for s in recipe.find("graph", "*", "in") if str(s.node.value) == "all.fields"]
    spot = pick(
        [
            s
            for s in uses
            if inside(recipe, next(recipe.parents(s)), "block").text in ("fm", "senet", "bilinear")
        ],
        rng,
    )
    return wrong_value(recipe, spot, "all", "[B, N, D]", ".fields")


@kind("shape")
def vector_wanted(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [
        n
        for n in blocks(recipe, "mmoe", "masknet")
        if str(inside(recipe, n, "in").node.value) == "all"
    ]
    return wrong_value(
        recipe, inside(recipe, pick(nodes, rng), "in"), "all.fields", "[B, D]", "without `.fields`"
    )


@kind("shape")
def history_wanted(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = list(blocks(recipe, "pooling", "self_attention"))
    return wrong_value(
        recipe, inside(recipe, pick(nodes, rng), "in"), "all", "[B, L, D]", "sequence"
    )


@kind("shape")
def pair_wanted(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [
        n for n in blocks(recipe, "din") if isinstance(inside(recipe, n, "in").node.value, str)
    ]
    keys = {s.path[1]: s.text for s in recipe.find("groups", "*", "keys")}
    spot = inside(recipe, pick(nodes, rng), "in")
    if spot is None or spot.text not in keys:
        return None
    return wrong_value(recipe, spot, keys[spot.text], keys[spot.text], "query")


@kind("shape")
def mixed_ranks(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [s for s in recipe.find("graph", "*", "in") if s.node.id == "sequence"]
    spot = pick(spots, rng)
    sequence = pick([inside(recipe, f, "name") for f in families(recipe, "sequence")], rng)
    if spot is None or sequence is None:
        return None
    at = spot.node.end_mark.index - 1
    edit = recipe.put(
        spot.node,
        spot.file,
        recipe.files[spot.file][spot.node.start_mark.index : at] + f", {sequence.text}]",
    )
    return Mistake((edit,), start(spot), sequence.text, ("pooling", "pool"))


@kind("shape")
def two_widths_added(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("tasks", "*", "logit") if "sum(fm)" in s.text], rng)
    if spot is None:
        return None
    return wrong_value(recipe, spot, "all.linear + fm + deep", "[B, 16]", "[B, 1]", "sum(")


@kind("shape")
def wide_logit(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        inside(recipe, n, "out")
        for n in blocks(recipe, "mlp")
        if recipe.find("tasks", "*", "logit")
    ]
    spot = pick([s for s in spots if s is not None and s.text == "1"], rng)
    logit = recipe.one("tasks", "*", "logit")
    if spot is None or logit is None or recipe.files[spot.file].count("out: 1") != 1:
        return None
    made = wrong_value(recipe, spot, "7", "[B, 7]", "[B, 1]", "sum(")
    return Mistake(made.edits, start(logit), made.culprit, made.mend)


@kind("shape")
def residual_of_other_width(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [
        n
        for n in blocks(recipe, "mlp")
        if str(inside(recipe, n, "in").node.value) == "all" and not inside(recipe, n, "each")
    ]
    return added(recipe, pick(nodes, rng), "residual: true", "residual", "[B, ")


@kind("shape")
def disabled_of_other_width(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [n for n in blocks(recipe, "mlp") if str(inside(recipe, n, "in").node.value) == "all"]
    return added(recipe, pick(nodes, rng), "enabled: false", "enabled", "remove the node")


@kind("shape")
def unequal_towers(recipe: Recipe, rng: random.Random) -> Mistake | None:
    if not plain(recipe) or len(recipe.find("tasks", "*", "in")) < 2:
        return None
    source, target = recipe.find("tasks", "*", "in")[:2]
    made = recipe.add_to("graph", "narrow: {block: mlp, in: all, hidden: [3]}")
    if made is None:
        return None
    relation, at = recipe.top(f"relations: [{source.path[1]} -> {target.path[1]}: {{via: aitm}}]\n")
    edits = (made[0], recipe.put(target.node, target.file, "narrow"), relation)
    return Mistake(edits, at, "[B, 3]", ("equal",))


@kind("shape")
def other_query(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(list(recipe.find("groups", "*", "query", "*")), rng)
    other = next((n for n in ("user_id", "hour") if says(recipe, n)), None)
    if spot is None or other is None:
        return None
    edit = recipe.put(spot.node, spot.file, other)
    return Mistake((edit,), start(spot), other, ("exactly",))


@kind("shape")
def shared_table_differs(recipe: Recipe, rng: random.Random) -> Mistake | None:
    made = recipe.add_to(
        "features", "- {type: id, names: another, vocab: 10, dim: 8, share: spare}"
    )
    more = recipe.add_to(
        "features", "- {type: id, names: yet_another, vocab: 20, dim: 8, share: spare}"
    )
    if (
        made is None
        or not recipe.find("graph", "*", "in")
        or "all" not in recipe.files[recipe.main]
    ):
        return None
    text = more[0].text + made[0].text
    edit = type(made[0])(made[0].file, made[0].start, made[0].end, text)
    return Mistake((edit,), made[1], "spare", ("same setting", "another `share`"), also=())


@kind("shape")
def number_as_expression(recipe: Recipe, rng: random.Random) -> Mistake | None:
    node = pick(recipe.find("tasks", "*", "logit"), rng)
    return wrong_value(recipe, node, "1 + 2", "number", "node")


# ---- bundles and names --------------------------------------------------------------------------


@kind("bundle")
def whole_bundle(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [
        n
        for n in blocks(recipe, "mlp")
        if inside(recipe, n, "each")
        and str(inside(recipe, n, "in").node.value)
        in [str(b.path[1]) for b in blocks(recipe, "mmoe", "ple")]
    ]
    node = pick(nodes, rng)
    if node is None:
        return None
    each = inside(recipe, node, "each")
    edit = recipe.without(each)
    source = inside(recipe, node, "in")
    return Mistake((edit,), start(source), source.text, (f"{source.text}.",)) if edit else None


@kind("bundle")
def key_of_a_plain_node(recipe: Recipe, rng: random.Random) -> Mistake | None:
    names = [str(n.path[1]) for n in blocks(recipe, "mlp") if not inside(recipe, n, "each")]
    spot = pick([s for s in references(recipe) if s.text in names], rng)
    return (
        None
        if spot is None
        else wrong_value(recipe, spot, f"{spot.text}.ctr", "ctr", f"write `{spot.text}`")
    )


@kind("bundle")
def no_such_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    bundles = [str(n.path[1]) for n in blocks(recipe, "mmoe", "ple")]
    spot = pick([s for s in references(recipe) if s.text in bundles], rng)
    tasks = recipe.names("tasks")
    return (
        None if spot is None else wrong_value(recipe, spot, f"{spot.text}.nobody", "nobody", *tasks)
    )


@kind("bundle")
def feature_as_node(recipe: Recipe, rng: random.Random) -> Mistake | None:
    name = next((n for n in ("user_id", "C1", "price") if says(recipe, n)), None)
    spot = pick([s for s in recipe.find("graph", "*", "in") if str(s.node.value) == "all"], rng)
    if name is None or (name == "price" and "price" not in recipe.files[list(recipe.files)[-1]]):
        return None
    return wrong_value(recipe, spot, name, name, "groups:")


@kind("bundle")
def name_of_python(recipe: Recipe, rng: random.Random) -> Mistake | None:
    word = rng.choice(["forward", "class", "train", "Deep", "all", "my-node"])
    return new_node(
        recipe,
        f"{word}: {{block: mlp, in: all, hidden: [4]}}",
        word,
        "letter",
        "word",
        "reserved",
        "attribute",
    )


@kind("bundle")
def name_taken(recipe: Recipe, rng: random.Random) -> Mistake | None:
    group = pick(recipe.find("groups", "*"), rng)
    if group is None:
        return None
    name = str(group.path[1])
    return new_node(recipe, f"{name}: {{block: mlp, in: all, hidden: [4]}}", name, "taken")


# ---- unused parts -------------------------------------------------------------------------------


@kind("unused")
def unused_node(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return new_node(
        recipe, "spare_node: {block: mlp, in: all, hidden: [4]}", "spare_node", "remove it"
    )


@kind("unused")
def unused_sequence(recipe: Recipe, rng: random.Random) -> Mistake | None:
    base = next((n for n in ("item_id", "user_id") if says(recipe, n)), None)
    made = recipe.add_to(
        "features", f"- {{type: sequence, name: spare_history, of: [{base}], max_len: 5}}"
    )
    return (
        Mistake((made[0],), made[1], "spare_history", ("no node", "group, sequence"))
        if made and base
        else None
    )


@kind("unused")
def unused_group(recipe: Recipe, rng: random.Random) -> Mistake | None:
    made = recipe.add_to("groups", "spare_group: [all]")
    if recipe.find("groups"):
        return Mistake((made[0],), made[1], "spare_group", ("read by no node",)) if made else None
    edit, at = recipe.top("groups: {spare_group: [all]}\n")
    return Mistake((edit,), at, "spare_group", ("read by no node",))


@kind("unused")
def unused_composite(recipe: Recipe, rng: random.Random) -> Mistake | None:
    if recipe.find("blocks"):
        return None
    edit, at = recipe.top(
        "blocks: {spare_block: {inputs: [x], graph: {h: {block: mlp, in: x, hidden: [4]}}, output: h}}\n"
    )
    return Mistake((edit,), at, "spare_block", ("used by no node",))


@kind("unused")
def unused_composite_input(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(recipe.find("blocks", "*", "inputs"), rng)
    if spot is None:
        return None
    at = spot.node.end_mark.index - 1
    edit = type(recipe.top("")[0])(spot.file, at, at, ", spare")
    return Mistake((edit,), (spot.file, at), "spare", ("no node reads",))


@kind("unused")
def export_of_nothing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    if recipe.find("export"):
        return None
    name = rng.choice(recipe.names("graph"))
    wrong = typo(name, rng)
    if wrong in recipe.names("graph"):
        return None
    edit, at = recipe.top(f"export: {{nodes: [{wrong}]}}\n")
    return Mistake((edit,), at, wrong, (f"`{name}`",))


# ---- YAML traps ---------------------------------------------------------------------------------


def _insert(recipe: Recipe, at: int, text: str, culprit: str, *mend: str) -> Mistake:
    edit = type(recipe.top("")[0])(recipe.main, at, at, text)
    return Mistake((edit,), (recipe.main, at), culprit, mend)


def _line_of(recipe: Recipe, spot: Spot) -> int:
    mark = (spot.key or spot.node).start_mark
    return mark.index - mark.column


@kind("yaml")
def tab_indentation(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("graph", "*") if s.file == recipe.main], rng)
    if spot is None or spot.key.start_mark.column == 0:
        return None
    begin = _line_of(recipe, spot)
    if recipe.files[recipe.main][begin : spot.key.start_mark.index].strip():
        return None
    edit = type(recipe.top("")[0])(recipe.main, begin, spot.key.start_mark.index, "\t")
    return Mistake((edit,), (recipe.main, spot.key.start_mark.index), "tab", ("spaces",))


@kind("yaml")
def key_twice(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(
        [s for s in recipe.find("graph", "*") if s.file == recipe.main and s.node.id == "mapping"],
        rng,
    )
    key = pick(
        [
            s
            for s in recipe.spots
            if spot and s.file == spot.file and s.path[:-1] == spot.path and s.key
        ],
        rng,
    )
    if spot is None or key is None:
        return None
    return added(recipe, spot, f"{key.path[-1]}: 1", str(key.path[-1]), "line", "twice")


@kind("yaml")
def bracket_open(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("graph", "*", "hidden") if s.is_flow], rng)
    if spot is None:
        return None
    end = spot.node.end_mark.index
    edit = type(recipe.top("")[0])(spot.file, end - 1, end, "")
    return Mistake((edit,), start(spot), "", ("closed", "closing", "bracket"))


@kind("yaml")
def brace_open(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("graph", "*") if s.is_flow and s.node.id == "mapping"], rng)
    if spot is None:
        return None
    end = spot.node.end_mark.index
    edit = type(recipe.top("")[0])(spot.file, end - 1, end, "")
    return Mistake((edit,), start(spot), "{", ("closed",))


@kind("yaml")
def quote_open(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("name") if s.file == recipe.main], rng)
    return None if spot is None else wrong_value(recipe, spot, f'"{spot.text}', "quote", "closed")


@kind("yaml")
def anchor(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(recipe.find("graph", "*", "hidden"), rng)
    if spot is None:
        return None
    old = recipe.files[spot.file][spot.node.start_mark.index : spot.node.end_mark.index]
    return wrong_value(recipe, spot, f"&widths {old}", "&widths", "extends")


@kind("yaml")
def alias(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(
        recipe,
        pick(recipe.find("graph", "*", "hidden"), rng),
        "*widths",
        "widths",
        "extends",
        "blocks",
    )


@kind("yaml")
def merge_key(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return added(recipe, pick(recipe.find("train"), rng), "<<: {epochs: 1}", "<<", "extends")


@kind("yaml")
def tag(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(
        recipe, pick(recipe.find("train", "batch"), rng), "!!int 512", "!!int", "leave it out"
    )


@kind("yaml")
def not_a_number(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(recipe, pick(recipe.find("train", "batch"), rng), ".nan", ".nan", "finite")


@kind("yaml")
def cut_at_a_comma(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        s
        for s in recipe.find("features", "*", "vocab")
        if "hash" in s.text and next(recipe.parents(s)).is_flow
    ]
    return wrong_value(recipe, pick(spots, rng), "hash(20, seed=1)", "hash(20", "quote")


@kind("yaml")
def colon_without_space(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(
        [s for s in recipe.find("graph", "*", "block") if next(recipe.parents(s)).is_flow], rng
    )
    if spot is None:
        return None
    edit = type(recipe.top("")[0])(
        spot.file, spot.key.start_mark.index, spot.node.end_mark.index, f"block:{spot.text}"
    )
    return Mistake((edit,), at_key(spot), "block", ("space", "colon", "`block`"))


@kind("yaml")
def colon_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick([s for s in recipe.find("tasks") if s.file == recipe.main and not s.is_flow], rng)
    if spot is None:
        return None
    end = spot.key.end_mark.index
    edit = type(recipe.top("")[0])(spot.file, end, end + 1, "")
    return Mistake((edit,), at_key(spot), "", ("colon",), also=(start(spot),))


@kind("yaml")
def comma_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        s
        for s in recipe.find("graph", "*", "in")
        if next(recipe.parents(s)).is_flow and isinstance(s.node.value, str)
    ]
    spot = pick([s for s in spots if recipe.files[s.file][s.node.end_mark.index] == ","], rng)
    if spot is None:
        return None
    end = spot.node.end_mark.index
    edit = type(recipe.top("")[0])(spot.file, end, end + 1, "")
    return Mistake((edit,), start(spot), "", ("comma", "colon"))


@kind("yaml")
def wrong_indentation(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spots = [
        s
        for s in recipe.find("graph", "*")
        if s.file == recipe.main and s.key.start_mark.column == 2
    ]
    spot = pick(spots[1:], rng)
    if spot is None:
        return None
    made = _insert(recipe, _line_of(recipe, spot), " ", "", "indentation", "colon")
    return Mistake(made.edits, at_key(spot), "", made.mend)


@kind("yaml")
def enormous_integer(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(recipe, pick(recipe.find("train", "batch"), rng), "9" * 60, "999", "64 bits")


@kind("yaml")
def second_document(recipe: Recipe, rng: random.Random) -> Mistake | None:
    edit, at = recipe.top("---\ngraphrec: 1\n")
    return Mistake((edit,), at, "document", ("one recipe",))


@kind("yaml")
def date_as_name(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return wrong_value(
        recipe,
        next((s for s in recipe.find("name") if s.file == recipe.main), None),
        "2024",
        "2024",
        "quotes",
    )


# ---- overrides ----------------------------------------------------------------------------------


def _override(text: str, culprit: str, *mend: str) -> Mistake:
    return Mistake((), None, culprit, mend, overrides=(text,))


@kind("override")
def override_path(recipe: Recipe, rng: random.Random) -> Mistake | None:
    word = rng.choice(["batch", "epochs", "seed"])
    wrong = typo(word, rng)
    return _override(f"train.{wrong}=1", wrong, f"`{word}`")


@kind("override")
def override_type(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return _override("train.batch=many", "many", "an integer")


@kind("override")
def override_without_value(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return _override("train.batch", "=", "path=value")


@kind("override")
def override_node(recipe: Recipe, rng: random.Random) -> Mistake | None:
    name = rng.choice(list(recipe.names("graph")))
    wrong = typo(name, rng)
    if wrong in recipe.names("graph"):
        return None
    return _override(f"graph.{wrong}.note=x", wrong, f"`{name}`")


@kind("override")
def override_parameter(recipe: Recipe, rng: random.Random) -> Mistake | None:
    node = pick(blocks(recipe, "mlp"), rng)
    wrong = typo("hidden", rng)
    return (
        None if node is None else _override(f"graph.{node.path[1]}.{wrong}=[4]", wrong, "`hidden`")
    )


@kind("override")
def override_top(recipe: Recipe, rng: random.Random) -> Mistake | None:
    wrong = typo("train", rng)
    return _override(f"{wrong}.batch=5", wrong, "`train`")


# ---- tasks --------------------------------------------------------------------------------------


def _binary(recipe: Recipe, *without: str) -> list[Spot]:
    return [
        t
        for t in recipe.find("tasks", "*")
        if not any(
            inside(recipe, t, w) for w in (*without, "kind", "classes", "loss", "prob", "metrics")
        )
        and inside(recipe, t, "label")
    ]


@kind("task")
def loss_of_another_kind(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return added(recipe, pick(_binary(recipe), rng), "loss: l2", "l2", "bce")


@kind("task")
def metric_of_another_kind(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return added(
        recipe, pick(_binary(recipe), rng), "metrics: [multiclass_auc]", "multiclass_auc", "auc"
    )


@kind("task")
def classes_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    task = pick(_binary(recipe), rng)
    made = added(recipe, task, "kind: multiclass", "classes", "how many")
    return made and Mistake(made.edits, at_key(task), made.culprit, made.mend, also=(made.at,))


@kind("task")
def classes_of_a_binary_task(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return added(recipe, pick(_binary(recipe), rng), "classes: 4", "classes", "multiclass")


@kind("task")
def input_and_logit(recipe: Recipe, rng: random.Random) -> Mistake | None:
    tasks = [t for t in recipe.find("tasks", "*") if inside(recipe, t, "in")]
    return added(recipe, pick(tasks, rng), "logit: sum(all)", "logit", "one of")


@kind("task")
def session_missing(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return added(
        recipe,
        pick(_binary(recipe), rng),
        "loss: jrc, classes: 2"
        if (t := pick(_binary(recipe), rng)) and t.is_flow
        else "loss: {jrc: {}}",
        "session",
        "session",
    )


@kind("task")
def metric_without_argument(recipe: Recipe, rng: random.Random) -> Mistake | None:
    return added(recipe, pick(_binary(recipe), rng), "metrics: [gauc]", "gauc", "column")


@kind("task")
def label_is_a_feature(recipe: Recipe, rng: random.Random) -> Mistake | None:
    name = next((n for n in ("user_id", "price") if says(recipe, n)), None)
    spot = pick(
        [s for s in recipe.find("tasks", "*", "label") if isinstance(s.node.value, str)], rng
    )
    return None if name is None else wrong_value(recipe, spot, name, name, "feature")


@kind("task")
def epochs_and_steps(recipe: Recipe, rng: random.Random) -> Mistake | None:
    trains = [t for t in recipe.find("train") if inside(recipe, t, "epochs")]
    return added(recipe, pick(trains, rng), "steps: 10", "steps", "one of them")


@kind("task")
def head_on_a_history(recipe: Recipe, rng: random.Random) -> Mistake | None:
    sequence = pick([inside(recipe, f, "name") for f in families(recipe, "sequence")], rng)
    spots = [s for s in recipe.find("tasks", "*", "in") if len(recipe.names("tasks")) == 1]
    spot = pick(spots, rng)
    if sequence is None or spot is None:
        return None
    return wrong_value(recipe, spot, sequence.text, sequence.text, "pooling")


@kind("task")
def mask_twice_said(recipe: Recipe, rng: random.Random) -> Mistake | None:
    nodes = [n for n in blocks(recipe, "masknet", "mask_block") if inside(recipe, n, "aggregation")]
    return added(recipe, pick(nodes, rng), "reduction: 2", "reduction", "aggregation")


# ---- relations ----------------------------------------------------------------------------------


def _related(recipe: Recipe) -> tuple[str, str] | None:
    spots = recipe.find("tasks", "*", "in")
    if len(spots) < 2 or recipe.find("relations") or not plain(recipe):
        return None
    return str(spots[0].path[1]), str(spots[1].path[1])


def _relation(recipe: Recipe, text: str, culprit: str, *mend: str) -> Mistake | None:
    if recipe.find("relations"):
        return None
    edit, at = recipe.top(f"relations: [{text}]\n")
    return Mistake((edit,), at, culprit, mend)


@kind("relation")
def wrong_arrow(recipe: Recipe, rng: random.Random) -> Mistake | None:
    pair = _related(recipe)
    return pair and _relation(recipe, f"{pair[0]} => {pair[1]}", "=>", "a -> b")


@kind("relation")
def relation_to_nobody(recipe: Recipe, rng: random.Random) -> Mistake | None:
    pair = _related(recipe)
    return pair and _relation(recipe, f"{pair[0]} -> nobody", "nobody", pair[1])


@kind("relation")
def relation_to_itself(recipe: Recipe, rng: random.Random) -> Mistake | None:
    pair = _related(recipe)
    return pair and _relation(recipe, f"{pair[0]} -> {pair[0]}", pair[0], "cycle")


@kind("relation")
def relation_twice(recipe: Recipe, rng: random.Random) -> Mistake | None:
    pair = _related(recipe)
    text = f"{pair[0]} -> {pair[1]}" if pair else ""
    return pair and _relation(recipe, f"{text}, {text}", text, "twice")


@kind("relation")
def setting_of_another_relation(recipe: Recipe, rng: random.Random) -> Mistake | None:
    pair = _related(recipe)
    return pair and _relation(
        recipe, f"{pair[0]} -> {pair[1]}: {{via: aitm, hidden: [4]}}", "hidden", "via: mlp"
    )


@kind("relation")
def relation_of_a_probability(recipe: Recipe, rng: random.Random) -> Mistake | None:
    prob, tower = recipe.one("tasks", "*", "prob"), recipe.one("tasks", "*", "in")
    if prob is None or tower is None:
        return None
    return _relation(recipe, f"{tower.path[1]} -> {prob.path[1]}", str(prob.path[1]), "`in:`")


@kind("relation")
def relation_of_a_logit(recipe: Recipe, rng: random.Random) -> Mistake | None:
    logits = recipe.find("tasks", "*", "logit")
    if len(logits) < 2:
        return None
    first, second = str(logits[0].path[1]), str(logits[1].path[1])
    return _relation(recipe, f"{first} -> {second}", first, "`in:`")


@kind("cycle")
def probability_of_itself(recipe: Recipe, rng: random.Random) -> Mistake | None:
    spot = pick(recipe.find("tasks", "*", "prob"), rng)
    if spot is None:
        return None
    name = str(spot.path[1])
    return wrong_value(recipe, spot, f"{spot.text} * {name}.prob", name, "cycle")
