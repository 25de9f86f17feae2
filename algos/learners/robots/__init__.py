"""Methods that act: soft actor-critic, task after task."""
