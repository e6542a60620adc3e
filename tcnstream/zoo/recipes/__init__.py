"""How the shipped models are trained and evaluated, as commands."""
