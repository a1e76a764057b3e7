"""One file for what is measured together; each has `rows(options)`."""
