"""The agent's pure parts, without a browser."""
