"""One file an operator; each has `cases()`."""
