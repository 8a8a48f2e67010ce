"""How a compiled model would be served, or why not, as JSON values for a report."""

from __future__ import annotations

from typing import Any

from ascend_serve.artifacts.om.reading import Om
from ascend_serve.errors import ConfigError


def serving(om: Om) -> dict[str, Any]:
    """How a model is served when nobody says otherwise (`Om.model_spec`).

    Returns:
        `reason`: why it is not served, or an empty text; `batched`: whether requests share runs; `buckets`: each
        `gears`, `inputs` and `outputs` (row shapes by name; whole shapes when not batched). The last two are null and
        empty where there is a reason.
    """
    try:
        spec = om.model_spec(om.name or "model")
    except ConfigError as error:
        return {"reason": str(error), "batched": None, "buckets": []}
    buckets = [
        {
            "gears": list(bucket.gears),
            "inputs": {tensor.name: list(bucket.shapes[tensor.name]) for tensor in spec.inputs},
            "outputs": {tensor.name: list(bucket.shapes[tensor.name]) for tensor in spec.outputs},
        }
        for bucket in spec.buckets
    ]
    return {"reason": "", "batched": spec.batched, "buckets": buckets}
