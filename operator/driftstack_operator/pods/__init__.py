"""Browser pods: how they are built, read and judged."""
