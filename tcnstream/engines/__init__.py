"""Engines compute the frames of a Plan; each one is a folder behind the protocols of ``base``."""
