"""A recipe proposed from the columns of data files: `graphrec new --from FILES --label COLUMN`.

    sample.py    files -> a sample of their rows
    profile.py   a column -> what can be known about it: kind, distinct values, spread
    roles.py     a profile -> what it is for: id, number, list, history, or left out and why
    labels.py    labels -> tasks, and columns that tell them
    text.py      all of it -> the text of a recipe
"""

from graphrec.propose.text import propose

__all__ = ["propose"]
