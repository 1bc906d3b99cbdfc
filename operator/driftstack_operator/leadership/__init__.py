"""Of several operators one leads: the Lease, who holds it, and what only its holder may do."""
