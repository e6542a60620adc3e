"""Plan -> bytes, and bytes -> facts: the flat file that the native core runs in place; ``layout.file`` describes it.

Each module imports only from those above it:

    memory.py       where frames live while the core runs: numbers of tensors, growth, rings, scratch slots
    data.py         what records refer to: weights and arguments, names, running sums, each in its place
    unsupported.py  what the core does not have
    write.py        a Plan as bytes
    facts.py        what such bytes say of themselves
    c_array.py      such bytes as a C header
"""
