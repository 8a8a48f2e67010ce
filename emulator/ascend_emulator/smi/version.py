"""The tool's version: that of the layouts, marked so that nobody takes it for a driver."""

from __future__ import annotations

VERSION = "26.1.0+emulated"
