"""Bytes to Graph and back: the file format's schema, its reader and writer, and the rules that a sound graph keeps."""
