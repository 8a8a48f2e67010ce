"""Replicas together: how many there are, which one gets a request, and what becomes of a lost card."""
