"""All that knows Ray. What Ray reads from the environment at its import is set here."""

import os

for _name, _value in {
    # it would otherwise pack the working folder for each worker under `uv run`,
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # send usage statistics,
    "RAY_USAGE_STATS_ENABLED": "0",
    # hide accelerators from actors that reserve none of them,
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # and take orders from anyone who reaches a port: see docs/security.md
    "RAY_AUTH_MODE": "token",
}.items():
    os.environ.setdefault(_name, _value)
