"""Asks pyACL what it knows, in a process of its own: `python -m ascend_serve.examining.acl_probe` prints JSON.

Whoever asks pyACL has its runtime in the process from then on, which does not survive a fork; and a broken driver may
hang or crash it. No device is opened, so it may be asked beside replicas.
"""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from ascend_serve.errors import DeviceError
from ascend_serve.runtime import _acl
from ascend_serve.runtime.device import runtime_toolchain


def ask() -> dict[str, Any]:
    """What `facts.Pyacl` holds, as JSON can hold it."""
    spec = importlib.util.find_spec("acl")
    if spec is None:
        return {"origin": None}
    told: dict[str, Any] = {"origin": spec.origin or str(spec.loader)}
    try:
        provider = runtime_toolchain()
        told["provider"] = [provider.vendor, provider.version]
        told["soc_name"] = _acl.soc_name()
        told["ordinals"] = _acl.device_count()
        told["healthy"] = [
            _acl.device_status(ordinal) == _acl.DEVICE_NORMAL for ordinal in range(told["ordinals"])
        ]
    except DeviceError as error:
        told["trouble"] = str(error)
    return told


if __name__ == "__main__":
    print(json.dumps(ask()))
