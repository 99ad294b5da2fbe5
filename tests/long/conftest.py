"""The same emulator, clients and stack as the integration tests have."""

from integration.conftest import clients, data, emulator, emulator_venv, stack

__all__ = ["clients", "data", "emulator", "emulator_venv", "stack"]
