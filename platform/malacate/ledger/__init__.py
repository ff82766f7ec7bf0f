"""The control database: what was seen, who works on it, how it ended.

A queue and an index, never the commit point: it can be rebuilt from listings and markers.
"""
