"""Which of the finest local slopes a check is held against."""

import numpy as np
import xarray as xr

import momentumflow as mf


def worst(study: mf.ConvergenceStudy, order: int | float) -> float:
    """Of the two finest slopes above the rounding floor the one farther from the order; NaN where there are not two."""
    slopes = study.last_orders(2)
    return float(slopes[np.argmax(np.abs(slopes - order))]) if len(slopes) == 2 else float("nan")


def worst_of(errors: xr.DataArray, order: int | float) -> float:
    """The same of exact errors along their last dimension, a ladder."""
    ladder = errors[errors.dims[-1]].values
    return worst(mf.ConvergenceStudy(ladder, errors.values, np.zeros(len(ladder))), order)
