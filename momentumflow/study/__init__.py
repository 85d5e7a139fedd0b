"""Measure and judge: convergence orders, the curvature of a loss, and `analyze`."""
