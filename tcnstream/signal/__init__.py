"""From a source to a model's input frames, and from its output frames to segments of time.

    source -> unit, gain -> rate -> filters of the card -> (model) -> segments -> sink

Every step is a stream: fed in chunks of any size, it gives the same as when fed all at once. ``tcnstream.pipeline``
puts them together.
"""
