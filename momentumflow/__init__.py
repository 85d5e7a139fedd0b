"""momentumflow: what an optimiser with momentum does in continuous time.

The public names are resolved on first use (PEP 562), so that `momentumflow --help` loads no JAX.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "_types": ("Trajectory", "VectorField"),
    "methods.linear_memory": ("AbstractLinearMemory", "LinearMemory"),
    "methods.momentum": (
        "MomentumMethod",
        "RescaledGradientDescent",
        "gradient_descent",
        "heavy_ball",
        "nesterov",
        "momentum_method",
        "rescaled_gradient_descent",
    ),
    "methods.strongly_convex": (
        "StronglyConvexMomentum",
        "WilsonSplitting",
        "heavy_ball_strongly_convex",
        "nesterov_strongly_convex",
        "wilson_splitting",
    ),
    "methods.schedules": ("NesterovSequence", "nesterov_sequence"),
    "methods.manifold": ("manifold_velocity",),
    "methods.iterate": ("iterate",),
    "problems.problem": ("AbstractProblem", "Bounds"),
    "problems.quadratic": ("Quadratic",),
    "problems.log_cosh": ("LogCosh",),
    "problems.double_well": ("DoubleWell",),
    "problems.bounded_valley": ("BoundedValley",),
    "problems.product_loss": ("ProductLoss",),
    "problems.piecewise_quadratic": ("PiecewiseQuadratic",),
    "problems.cosine": ("Cosine",),
    "problems.networks": ("Autoencoder",),
    "problems.diagonal_network": ("DiagonalNetwork",),
    "expansion.coefficients": (
        "Expansion",
        "manifold_expansion",
        "modified_equation",
        "modified_equation_of",
        "step_expansion",
    ),
    "expansion.phase": ("phase_expansion",),
    "expansion.potential": ("gradient_defect",),
    "flows.model": ("AbstractFlow", "Claim"),
    "flows.gradient": ("GradientFlow", "RescaledGradientFlow"),
    "flows.momentum": ("MomentumODE",),
    "flows.slow": ("SlowFlow",),
    "flows.strongly_convex": ("StronglyConvexODE", "SuBoydCandesODE"),
    "flows.higher_order": ("HigherOrderODE",),
    "flows.phase": ("PhaseFlow",),
    "flows.inertial": ("InertialFlow",),
    "flows.principal": ("PrincipalFlow",),
    "flows.piecewise": ("AbstractPiecewiseFlow",),
    "flows.stochastic": ("StochasticModifiedFlow",),
    "flows.lagged": ("StochasticLaggedFlow",),
    "flows.transient_drift": ("transient_drift",),
    "flows.drift_family": ("Defects", "FamilyFlow"),
    "flows.stochastic_equation": ("StochasticModifiedEquation",),
    "flows.sample_paths": ("sample_paths",),
    "flows.solve": ("solve",),
    "theory.appendix_c": ("ManifoldConstants", "manifold_constants"),
    "theory.series_manifold": ("AbstractManifold", "SeriesManifold"),
    "theory.invariant_manifold": ("InvariantManifold", "ManifoldSolution"),
    "theory.graph_operator": ("GraphContraction",),
    "theory.manifold_start": ("manifold_start",),
    "theory.conditions": ("Conditions",),
    "theory.lemma_8": ("DerivativeBounds", "derivative_bounds"),
    "theory.learning_rate": ("LargestLearningRate", "largest_learning_rate"),
    "theory.modified_loss": ("ModifiedLoss", "modified_loss"),
    "theory.implicit_regularizer": ("ImplicitRegularizer", "RegularizedLoss", "implicit_regularizer"),
    "theory.batch_statistics": (
        "ExpectedRegularizer",
        "expected_regularizer",
        "gradient_variance",
        "stationary_variance",
    ),
    "theory.reshuffling": ("ReshuffledLoss", "reshuffled_loss", "reshuffling_constant"),
    "linear.memory_spectrum": ("convergence_factor", "sharpness_limit", "step_matrix"),
    "linear.tuning": ("Tuning", "optimal_tuning"),
    "linear.average_tuning": ("average_tuning",),
    "study.analyze": ("Analysis", "analyze"),
    "study.convergence": ("convergence_study",),
    "study.curl": ("curl",),
    "study.curvature": ("Curvature", "curvature"),
    "study.pathwise": ("pathwise_study",),
    "study.derivatives": ("DerivativeCheck", "check_derivatives"),
    "study.orders": ("ConvergenceStudy",),
    "methods.conversions": ("to_sgd", "from_sgd", "from_physical", "to_physical"),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)
_SUBMODULES = ("plot",)  # not in __all__: a star import must not load matplotlib


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'momentumflow' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__, *_SUBMODULES]
