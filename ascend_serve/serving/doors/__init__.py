"""The doors of a replica: HTTP, gRPC and what a request meets on its way in."""
