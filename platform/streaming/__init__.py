"""The streaming-task service: sources that make items, and consumers that read them in chunks (docs/streaming.md).

The service remembers nothing. A consumer's position lives in its own checkpoint, and every chunk is a function of
(stream, seed, cursor, count), so a source or a consumer that is killed loses nothing and doubles nothing.
"""
