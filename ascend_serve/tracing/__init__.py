"""Timelines of replicas: what was recorded of requests, batches and the device, for a trace viewer.

Ring       keeps a model's journal and its runs on the device, while a replica is traced
timeline   makes Chrome's trace format of what the rings of several replicas kept
"""

from ascend_serve.tracing.recording import ModelTrace, ReplicaTrace, Ring
from ascend_serve.tracing.timeline import timeline

__all__ = ["ModelTrace", "ReplicaTrace", "Ring", "timeline"]
