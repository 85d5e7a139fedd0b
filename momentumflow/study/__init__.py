"""Measure and judge: convergence orders, later the curvature of a loss and `analyze`."""
