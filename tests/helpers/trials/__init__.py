"""Random trials of every operation: shapes, quantization and data that exercise its rules. ``singleop`` runs them.

A builder takes a generator and a dtype and gives a Trial; ``cases.CASES`` has the builder and the dtypes of every
operation that the compiler knows. The other modules are builders, a family each, over ``drawing``.
"""
