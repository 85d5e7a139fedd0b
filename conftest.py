"""A strict session: float64, a compilation cache, derandomised hypothesis."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")

import hypothesis
import jax
import matplotlib
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

matplotlib.use("agg")
jax.config.update("jax_enable_x64", True)
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get("MOMENTUMFLOW_TEST_CACHE", str(Path(tempfile.gettempdir()) / "momentumflow-jax-cache")),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

hypothesis.settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    max_examples=30,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["*.md"]).pytest()
