"""The mine's source systems on a laptop, the same for the same seed, with the truth beside them."""
