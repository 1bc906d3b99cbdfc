"""Access to the Kubernetes API: plain bodies in, plain bodies out, our own exceptions."""
