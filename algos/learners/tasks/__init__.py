"""Methods that are told of tasks and their ends."""
