"""The reader of protobuf text format: values, places, and mistakes told with their place."""

from __future__ import annotations

import pytest

from graphrec.ground.errors import RecipeError
from graphrec.importers.tzrec.textproto import Message, parse_textproto


def plain(message: Message) -> list[tuple[str, object]]:
    return [
        (e.name, plain(e.value) if isinstance(e.value, Message) else e.value)
        for e in message.entries
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("a: 1 b: -2.5 c: 1e-3 d: .5f", [("a", 1), ("b", -2.5), ("c", 0.001), ("d", 0.5)]),
        ("a: 0x1F b: 017 c: 0", [("a", 31), ("b", 15), ("c", 0)]),
        ("a { b: 1 }", [("a", [("b", 1)])]),
        ("a: { b: 1 }", [("a", [("b", 1)])]),
        ("a < b: 1 >", [("a", [("b", 1)])]),
        ("a {}", [("a", [])]),
        ("a: [1, 2]", [("a", 1), ("a", 2)]),
        ("a: []", []),
        ("a [{ b: 1 }, { b: 2 }]", [("a", [("b", 1)]), ("a", [("b", 2)])]),
        ("a: 1, b: 2; c: 3", [("a", 1), ("b", 2), ("c", 3)]),
        ("# note\na: 1 # more\n#b: 2", [("a", 1)]),
        ("a: 'x # no comment'", [("a", "x # no comment")]),
        ('a: "it\'s" \'say "hi"\'', [("a", 'it\'ssay "hi"')]),
        (r'a: "\t\n\\\"\x41\101"', [("a", '\t\n\\"AA')]),
        (r'a: "\u00e9 \xc3\xa9 \U0001f600"', [("a", "é é 😀")]),
        (
            "a: true b: FG_DAG c: inf d: -inf",
            [("a", "true"), ("b", "FG_DAG"), ("c", "inf"), ("d", "-inf")],
        ),
        ("[pkg.ext]: 1", [("[pkg.ext]", 1)]),
        ("a: 1\r\nb: 2\r\n", [("a", 1), ("b", 2)]),
    ],
)
def test_values(text: str, values: list[tuple[str, object]]) -> None:
    assert plain(parse_textproto(text, "f")) == values


def test_places_are_those_of_the_names() -> None:
    message = parse_textproto("a: 1\n\n  b {\n    c: 'x'\n  }\n", "f.config")
    b = message.entries[1]
    assert isinstance(b.value, Message)
    assert [str(e.span) for e in (*message.entries, *b.value.entries)] == [
        "f.config:1:1",
        "f.config:3:3",
        "f.config:4:5",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "f:1:2: expected `:` or `{` behind `a`, got the end of the file"),
        ("a 1", "f:1:3: expected `:` or `{` behind `a`, got `1`"),
        ("a: ", "f:1:4: expected a value, got the end of the file"),
        ("a {\n  b: 1\n", "f:1:3: this message is not closed"),
        ("a: 1 }", "f:1:6: expected the name of a field, got `}`"),
        ("a < b: 1 }", "f:1:10: expected the name of a field, got `}`"),
        ("\na: 'x\n'", "f:2:4: a text in quotes that does not end in its line"),
        ("a: 12x", "f:1:4: a number that can't be read"),
        ("a: [1 2]", "f:1:7: expected `,` or `]` in a list, got `2`"),
        ("a: [1", "f:1:6: expected `,` or `]` in a list, got the end of the file"),
        ("a: $", "f:1:4: '$' does not belong here"),
        (r"a: '\q'", "f:1:4: unknown escape `\\q`"),
        ("a: " + "9" * 80, "f:1:4: a number of too many digits"),
        ("a {" * 200, "f:1:195: messages nested deeper than 64"),
    ],
)
def test_mistakes_have_a_place(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_textproto(text, "f")
    problem = caught.value.problems[0]
    assert f"{problem.span}: {problem.message}" == said
    assert problem.code == "GR130"
