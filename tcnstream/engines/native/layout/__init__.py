"""The layout of a plan file and the words of the core: one description, for Python and for C.

Each module imports only from those above it:

    record.py     what a record is: fields with names, packed and read in Python, a struct in C
    codes.py      what a user of ``tcn.h`` sees: errors, families of processors, element types
    functions.py  which function of its kind a node computes
    arguments.py  what the operations are told: their records of arguments
    kinds.py      the operations themselves, each with its arguments
    file.py       the records of a plan file around its operations, and in which order they stand
    snapshot.py   the start of a snapshot
    headers.py    ``core/codes.h`` and ``core/layout.h``, made from all of these

``python -m tcnstream.engines.native.layout`` writes the two headers; with ``--check`` it only says whether they are
what is described here. A new operation of the core is a record in ``arguments.py``, a member of ``Kind``, a packer in
``pack/`` and a file in ``core/operations/``.
"""
