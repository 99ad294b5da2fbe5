"""The same emulator, clients and stack as the integration tests have."""

from integration.conftest import clients, emulator, emulator_venv, stack

__all__ = ["clients", "emulator", "emulator_venv", "stack"]
