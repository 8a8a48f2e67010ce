"""Who made an artefact, and who runs it."""

from __future__ import annotations

from dataclasses import dataclass

CANN = "CANN"
"""The vendor of tools that name no other: Huawei's own."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Vendor and version of the tools that built an artefact, or of the runtime that is to run it.

    CANN writes no vendor anywhere; a toolchain that is not CANN says so in the header field `userdefineinfo` of
    each `.om` it writes, and provides `acl` as an installed Python distribution of that name. Version is text as the
    tools give it, empty when they give none.
    """

    vendor: str
    version: str

    def __str__(self) -> str:
        return f"{self.vendor} {self.version}".rstrip()
