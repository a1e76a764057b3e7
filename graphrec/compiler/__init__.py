"""Recipe -> Graph -> Source -> module: open pipeline.py first, it is the whole road."""
