"""What is learned: data sets, streams of tasks, episodes."""
