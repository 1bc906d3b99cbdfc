"""What operator, dispatcher and facade agree on about webhooks: events, deliveries, signatures, targets."""
