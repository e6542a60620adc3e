"""The live daemon: sensors and microphones in, segments out, for months, and every missing sample marked.

    source -> feed (frame numbers, clock, gaps) -> chain (Pipeline, events) -> hub -> sinks
                                                       └─> journal (checkpoints)

Importing the package does not import this room; ``tcnstream serve`` does.
"""
