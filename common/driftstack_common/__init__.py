"""What every component shares: names, the models of our kinds, the agent's protocol, Kubernetes access."""
