"""Accounts: their namespaces and quotas."""
