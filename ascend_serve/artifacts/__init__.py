"""Compiled models at rest: reading an `.om`, and the store that keeps them beside their manifests."""
