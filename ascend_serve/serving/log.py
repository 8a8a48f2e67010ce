"""The log of replicas: lines of ours in Serve's own files, whatever the level of Serve's own lines.

Serve makes a log record of each request and throws it away where its access log is off, which takes 20 us; a level
above INFO spares that. Our few lines tell what a replica runs on and are wanted all the same.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("ray.serve.ascend_serve")
logger.setLevel(logging.INFO)

SERVE_LOGGING = {"enable_access_log": False, "log_level": "WARNING"}
"""Serve's `logging_config` where the Serve file sets none: no line for each request, which took 40 us of CPU."""
