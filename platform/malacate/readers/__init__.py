"""Tables for those who work with them in Python: as they are now, or as they were at an instant."""
