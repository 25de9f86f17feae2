"""Soft actor-critic on stable-baselines3. Importing its modules imports that; whoever names a method does not."""
