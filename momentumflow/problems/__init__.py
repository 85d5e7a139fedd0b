"""Losses with known constants: minimiser, bounds B₀, B₁, B₂ on the derivatives, curvature; networks."""
