"""Functions in the emulator: invoked, served, verified."""
