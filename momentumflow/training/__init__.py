"""Networks trained with the methods: data sets, the training loop, the six methods of Figure 6."""

from .checkpoints import CheckpointError, Checkpoints
from .comparison import Comparison, run_methods, table, table_of_losses, to_dict
from .datasets import Dataset, load
from .ensemble import AbstractEnsemble, Apart, Together, evaluate, run_epoch, together
from .group import Group, faster_layout, plan, train_group
from .idx import read_idx
from .loop import History, Training, TrainingRun, train, train_ensemble
from .methods import METHOD_NAMES, STRONGLY_CONVEX_NAMES, six_methods
from .run import Result, Run, find, grid
from .sweeps import Sweep, as_csv, sweep, swept_to_dict, table_of_sweep

__all__ = [
    "METHOD_NAMES",
    "STRONGLY_CONVEX_NAMES",
    "AbstractEnsemble",
    "Apart",
    "CheckpointError",
    "Checkpoints",
    "Comparison",
    "Dataset",
    "Group",
    "History",
    "Result",
    "Run",
    "Sweep",
    "Together",
    "Training",
    "TrainingRun",
    "as_csv",
    "evaluate",
    "faster_layout",
    "find",
    "grid",
    "load",
    "plan",
    "read_idx",
    "run_epoch",
    "run_methods",
    "six_methods",
    "sweep",
    "swept_to_dict",
    "table",
    "table_of_losses",
    "table_of_sweep",
    "to_dict",
    "together",
    "train",
    "train_ensemble",
    "train_group",
]
