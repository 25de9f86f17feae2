"""Streams of labelled batches."""
