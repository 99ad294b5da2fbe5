"""The machine without AWS: real Valkey, an AWS emulator and Airflow, on loopback."""
