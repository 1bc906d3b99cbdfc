"""How many calls an account may make: token buckets, in memory or shared by all replicas (docs/decisions/0072)."""
