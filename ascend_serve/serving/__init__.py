"""The Ray Serve side: the app builder, the deployment behind it, its front doors and the check of a Serve file."""

DEPLOYMENT = "AscendModel"
"""Name of the deployment in a Serve file."""
