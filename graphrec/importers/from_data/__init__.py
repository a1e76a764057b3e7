"""Recipes to start from: a copy of a shipped one, or one proposed from the columns of data files.

copy_recipe.py     a shipped recipe as one file
sample.py          files -> a sample of their rows
profile.py         a column -> what can be known about it: kind, distinct values, spread
roles.py           a profile -> what it is for: id, number, list, history, or left out and why
label_columns.py   labels -> tasks, and columns that tell them
proposal.py        all of it -> the text of a recipe
"""

from graphrec.importers.from_data.copy_recipe import copied
from graphrec.importers.from_data.proposal import propose

__all__ = ["copied", "propose"]
