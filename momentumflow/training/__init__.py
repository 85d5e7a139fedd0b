"""Networks trained with the methods: data sets, the training loop, the six methods of Figure 6."""

from .comparison import Comparison, run_methods, table, table_of_losses, to_dict
from .datasets import Dataset, load
from .idx import read_idx
from .loop import TrainingRun, evaluate, train
from .methods import METHOD_NAMES, six_methods

__all__ = [
    "METHOD_NAMES",
    "Comparison",
    "Dataset",
    "TrainingRun",
    "evaluate",
    "load",
    "read_idx",
    "run_methods",
    "six_methods",
    "table",
    "table_of_losses",
    "to_dict",
    "train",
]
