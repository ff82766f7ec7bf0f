"""What the mine loads: one folder per source, with its contract."""
