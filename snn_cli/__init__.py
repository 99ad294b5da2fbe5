"""The `snn` command, and the machine without AWS (`snn local`)."""
