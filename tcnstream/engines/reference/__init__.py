"""The reference engine: NumPy, node by node; the definition of every result."""
