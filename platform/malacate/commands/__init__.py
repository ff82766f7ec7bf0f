"""Subcommands of ``malacate``, one file each."""
