"""Measuring a model: against its contract, against the clock, against other runtimes."""
