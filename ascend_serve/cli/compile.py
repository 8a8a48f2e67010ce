"""`ascend-serve compile`: the command of `compile_jobs`."""

from compile_jobs.command import command

__all__ = ["command"]
