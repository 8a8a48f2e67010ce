"""Does a compiled model compute what its source does? `verify` asks, `find_departure` says where it stops doing so.

`comparison` judges two arrays; `onnx_graph` reads and changes the source; `reference` runs it with onnxruntime
(`ascend-serve[verify]`); `feeds` makes the inputs that both get, and `preprocessing` what AIPP makes of them;
`verification` runs both at each gear and holds the result against a recipe's tolerance; `departure` looks for the
first operator that computes something else.
Importing this package loads neither `acl` nor onnxruntime.
"""

from ascend_serve.verifying.departure import Departure, NoDeparture, find_departure, where_to_look
from ascend_serve.verifying.verification import Verification, check, gate, verify, verify_target

__all__ = [
    "Departure",
    "NoDeparture",
    "Verification",
    "check",
    "find_departure",
    "gate",
    "verify",
    "verify_target",
    "where_to_look",
]
