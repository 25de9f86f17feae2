"""How it is learned: modulations, inner loop, outer rules, masks, networks, learners. Knows neither Ray nor MLflow."""
