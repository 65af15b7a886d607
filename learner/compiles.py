"""How many programs XLA compiled in this process: after a step of each kind it should be none."""

import jax


class Compiles:
    """Counts from the moment it is made, in all of the process."""

    def __init__(self):
        self._count = 0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def taken(self) -> int:
        """Programs since the last call; one that came from a cache on disk counts as well."""
        count, self._count = self._count, 0
        return count

    def _add(self, event: str, duration_secs: float, **_: str | int) -> None:
        self._count += event.endswith("backend_compile_duration")
