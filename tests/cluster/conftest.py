"""One Ray cluster of two local nodes for all tests that need one."""

import pytest

from cluster.connect import connect
from cluster.placement import plan
from configs.schema import RunConfig


@pytest.fixture(scope="session")
def connection():
    with connect(plan(2, RunConfig())) as connection:
        yield connection
