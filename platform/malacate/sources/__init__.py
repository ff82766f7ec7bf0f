"""The systems that are read. A source finds what is new, and reads it as Arrow."""
