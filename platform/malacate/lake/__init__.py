"""The object store: its zones, what lands there, and the folders that others drop files into."""
