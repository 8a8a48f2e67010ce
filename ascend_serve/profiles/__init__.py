"""What a profile of CANN's profiler says of a device: how busy, where it waited for the host, how fast memory was."""

from ascend_serve.profiles.exported import Exported, read_exported
from ascend_serve.profiles.summary import Summary, summarise

__all__ = ["Exported", "Summary", "read_exported", "summarise"]
