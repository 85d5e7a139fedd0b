"""Every experiment's quick preset: all checks hold, and the figure is drawn. What `make reproduce` does, as a test."""

import pytest

from momentumflow._progress import SILENT
from momentumflow.experiments import registry

# some seconds each, and no test of their own runs them; the others run in `make test-all` and `make reproduce`
ALWAYS = ("paper-equation-13", "beyond-transient", "beyond-principal-flow")


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=entry.id, marks=() if entry.id in ALWAYS else pytest.mark.slow)
        for entry in registry.entries()
    ],
)
def test_all_checks_hold(entry):
    experiment = registry.load(entry)
    data = experiment.run(experiment.PRESETS["quick"], SILENT)
    checks = experiment.checks(data)
    assert checks
    assert not [str(check) for check in checks if not check.held]
    assert experiment.plot(data).axes
