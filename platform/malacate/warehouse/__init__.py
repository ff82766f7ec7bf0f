"""Where tables are served from: publish once, read a consistent snapshot."""
