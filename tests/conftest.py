"""Every test sees a mesh of 4 CPU devices, none needs its own process."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# programs of the tests run once or twice: compiling them fast matters more than their speed
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
