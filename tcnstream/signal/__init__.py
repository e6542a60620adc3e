"""From a recording to a model's input frames, and from its output frames to segments of time.

    source -> units -> resample -> condition -> (model) -> segments -> writers

Every step is a stream: fed in chunks of any size, it gives the same as when fed all at once.
"""
