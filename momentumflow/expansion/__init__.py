"""Backward error analysis: rooted trees, exact coefficients, elementary differentials by autodiff."""
