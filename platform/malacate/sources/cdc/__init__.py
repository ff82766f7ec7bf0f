"""Changes, whoever captured them: one envelope, one file per origin."""
