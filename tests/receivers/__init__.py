"""A receiver of webhooks that behaves as well or badly as a test asks."""
