"""Specifications: few-shot learning from several data sets."""
