"""The command line: one module per verb, put together in `frisket.platform.cli.main`. Nothing heavy is imported before
a verb runs."""
