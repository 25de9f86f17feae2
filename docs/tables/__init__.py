"""The tables of the docs, made from the declarations and files they tell of: `python -m docs.tables`."""
