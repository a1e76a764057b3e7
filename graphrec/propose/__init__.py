"""Recipes to start from: a copy of a shipped one, or one proposed from the columns of data files.

copied.py    a shipped recipe as one file
sample.py    files -> a sample of their rows
profile.py   a column -> what can be known about it: kind, distinct values, spread
roles.py     a profile -> what it is for: id, number, list, history, or left out and why
labels.py    labels -> tasks, and columns that tell them
text.py      all of it -> the text of a recipe
"""

from graphrec.propose.copied import copied
from graphrec.propose.text import propose

__all__ = ["copied", "propose"]
