"""Models written by hand, as good plain torch: what generated modules are compared with.

Parts are called as the nodes of the recipe in bench/recipes, so weights can be copied by name.
"""
