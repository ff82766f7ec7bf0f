"""malacate: every source takes one path to its raw table; every row arrives once."""
