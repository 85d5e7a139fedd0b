"""Classification."""
from . import _classification_runs as runs
Config = runs.Config
