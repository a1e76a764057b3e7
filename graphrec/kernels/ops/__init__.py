"""Operators `graphrec::*`: schema, shapes, autograd, and the reference in plain torch."""
