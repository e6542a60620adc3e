"""Bytes to frames, frames to messages, messages to answered requests, over a line that may fail."""
