"""Continuous time: one model per file, one `solve`."""
