"""The language, its blocks and commands as pages: for a terminal and for docs/."""
