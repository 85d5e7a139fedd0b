"""The same numbers every time on a GPU: what XLA must be told before JAX starts."""

import os

_FLAGS = {
    "--xla_gpu_deterministic_ops": "true",
    "--xla_gpu_autotune_level": "0",  # its choice of kernels depends on timings
}


def prepare() -> None:
    """Adds to XLA_FLAGS what is not set there yet; of no effect on a CPU, whose programs are deterministic."""
    given = os.environ.get("XLA_FLAGS", "")
    missing = [f"{name}={value}" for name, value in _FLAGS.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *missing])
