"""Every test sees a mesh of 4 CPU devices, none needs its own process."""

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# programs of the tests run once or twice: compiling them fast matters more than their speed
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# many tests, and the runs that they start, make the same programs anew: each is compiled once
_programs = tempfile.TemporaryDirectory(prefix="showwork-programs-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402  (reads the settings above)

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
