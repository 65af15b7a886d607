"""Every test sees a mesh of 4 CPU devices, none needs its own process."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# programs of the tests run once or twice: compiling them fast matters more than their speed
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# many tests, and the runs that they start, make the same programs anew: each is compiled once, and
# what did not change is there the next time
_PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "programs"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_PROGRAMS)
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**29)  # bytes; the oldest go first
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Ray runs its workers at low priority: beside the other half of the tests they would starve
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (Ray spells it so)

import jax  # noqa: E402  (reads the settings above)
import pytest  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config, items):
    """Drills are left out where `-m` does not name them. Tests of a file stay together, and so do
    those that share one Ray cluster; what uses Ray begins first."""
    if "drill" not in config.option.markexpr:
        drills = [item for item in items if item.get_closest_marker("drill")]
        config.hook.pytest_deselected(items=drills)
        items[:] = [item for item in items if item not in drills]
    for item in items:
        shared = "connection" in item.fixturenames
        group = "connection" if shared else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)
