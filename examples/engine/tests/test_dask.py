"""What edgekit promises of every engine."""

from edgekit.testing.engine_contract import EngineContract


class TestDask(EngineContract):
    name = "dask"
