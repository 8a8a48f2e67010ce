"""The return codes that the emulated device gives, and the exception that carries one inside the emulator.

Numbers and names are those of facts/pyacl.md §16. Only `acl` turns a `Failure` into a code; nothing below it
returns codes.
"""

from __future__ import annotations

INVALID_PARAM = 100000
REPEAT_INITIALIZE = 100002
INVALID_FILE = 100003
PARSE_FILE = 100006
REPEAT_FINALIZE = 100037
RT_PARAM_INVALID = 107000
RT_INVALID_DEVICE = 107001
RT_CONTEXT_NULL = 107002
RT_STREAM_CONTEXT = 107003
RT_MODEL_CONTEXT = 107004
RT_EVENT_TIMESTAMP_INVALID = 107006
RT_EVENT_TIMESTAMP_REVERSAL = 107007
GE_PARAM_INVALID = 145000
GE_NOT_INITIALISED = 145001
GE_MODEL_PATH_INVALID = 145002
GE_MODEL_ID_INVALID = 145003
GE_MODEL_DATA_INVALID = 145006
GE_DYNAMIC_INPUT_LENGTH_INVALID = 145012
GE_DYNAMIC_BATCH_INVALID = 145013
RT_FEATURE_NOT_SUPPORTED = 207000
RT_OUT_OF_MEMORY = 207001
RT_NO_DEVICE = 207004
RT_NO_STREAM = 207008
GE_OUT_OF_MEMORY = 245000
RT_CONTEXT_RELEASE = 507007
RT_LOST_DEVICE = 507010
RT_MODEL_EXECUTE = 507011
RT_COPY_FAULT = 507013
RT_CORE_EXCEPTION = 507015
RT_DEVICE_SETUP = 507033
RT_STREAM_SYNC_TIMEOUT = 507046
RT_EVENT_SYNC_TIMEOUT = 507047
GE_LOAD_MODEL = 545001


class Failure(Exception):  # noqa: N818 - it is a code on its way to the caller, not an error of the emulator
    """A call that ends with a return code other than 0.

    Attributes:
        code: number that the caller gets as `ret`.
        text: what `acl.get_recent_err_msg()` then says; empty when the device would say nothing.
    """

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
