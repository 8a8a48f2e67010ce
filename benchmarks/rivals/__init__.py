"""Servers of others that are no dependency of ours, in an environment of their own."""
