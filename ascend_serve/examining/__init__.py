"""What `ascend-serve doctor` finds: facts of this machine are read by readers, and judged by small pure checks."""

from ascend_serve.examining.examination import examine
from ascend_serve.examining.facts import Facts
from ascend_serve.examining.finding import Finding, Level

__all__ = ["Facts", "Finding", "Level", "examine"]
