"""Comparisons on one machine: `make bench`, or `python -m bench --only P3`."""
