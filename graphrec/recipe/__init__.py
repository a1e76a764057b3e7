"""From a recipe's text to a checked, complete `Recipe`."""

from graphrec.recipe.canonical import canonical, recipe_hash
from graphrec.recipe.composite_file import read_composite
from graphrec.recipe.parse import Reading, parse, read_recipe

__all__ = ["Reading", "canonical", "parse", "read_composite", "read_recipe", "recipe_hash"]
