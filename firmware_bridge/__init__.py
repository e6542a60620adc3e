"""Prove that a board computes what the host computes."""
