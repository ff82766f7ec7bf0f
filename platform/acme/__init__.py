"""ACME, a copper mine: its sources, declared, and its source systems, simulated."""
