"""The return codes that the emulated device gives, and the exception that carries one inside the emulator.

Numbers and names are those of facts/pyacl.md §16. Only `acl` turns a `Failure` into a code; nothing below it
returns codes.
"""

from __future__ import annotations

INVALID_PARAM = 100000
UNINITIALIZE = 100001
REPEAT_INITIALIZE = 100002
INVALID_FILE = 100003
PARSE_FILE = 100006
INVALID_PROFILING_CONFIG = 100010
INVALID_MODEL_ID = 100011
REPEAT_FINALIZE = 100037
DUMP_NOT_RUN = 100045
RT_PARAM_INVALID = 107000
RT_INVALID_DEVICE = 107001
RT_CONTEXT_NULL = 107002
RT_STREAM_CONTEXT = 107003
RT_MODEL_CONTEXT = 107004
RT_EVENT_TIMESTAMP_INVALID = 107006
RT_EVENT_TIMESTAMP_REVERSAL = 107007
RT_STREAM_SUBSCRIBE = 107011
RT_THREAD_SUBSCRIBE = 107012
RT_STREAM_NO_CALLBACK = 107015
RT_INVALID_MEMORY_TYPE = 107016
RT_INVALID_HANDLE = 107017
RT_TASK_TIMEOUT = 107020
RT_STREAM_ABORT = 107023
GE_PARAM_INVALID = 145000
GE_NOT_INITIALISED = 145001
GE_MODEL_PATH_INVALID = 145002
GE_MODEL_ID_INVALID = 145003
GE_MODEL_DATA_INVALID = 145006
GE_DYNAMIC_INPUT_LENGTH_INVALID = 145012
GE_DYNAMIC_BATCH_INVALID = 145013
GE_AIPP_NOT_EXIST = 145015
PROF_REPEAT_SUBSCRIBE = 148046
PROF_API_CONFLICT = 148047
INVALID_BUNDLE_ID = 148053
API_NOT_SUPPORT = 200001
PROF_MODULES_UNSUPPORTED = 200007
FEATURE_UNSUPPORTED = 200006
RT_FEATURE_NOT_SUPPORTED = 207000
RT_OUT_OF_MEMORY = 207001
RT_NO_DEVICE = 207004
RT_NO_PERMISSION = 207006
RT_NO_EVENT = 207007
RT_NO_STREAM = 207008
GE_OUT_OF_MEMORY = 245000
STORAGE_OVER_LIMIT = 300000
FAILURE = 500001
GE_FAILURE = 500002
RT_INTERNAL_ERROR = 507000
RT_CONTEXT_RELEASE = 507007
RT_LOST_DEVICE = 507010
RT_MODEL_EXECUTE = 507011
RT_REPORT_TIMEOUT = 507012
RT_COPY_FAULT = 507013
RT_CORE_EXCEPTION = 507015
RT_DEVICE_SETUP = 507033
RT_STREAM_SYNC_TIMEOUT = 507046
RT_EVENT_SYNC_TIMEOUT = 507047
RT_MULTI_BIT_ECC = 507054
RT_DRIVER = 507899
RT_HOST_ALREADY_REGISTERED = 507910
RT_HOST_NOT_REGISTERED = 507911
GE_LOAD_MODEL = 545001


class Failure(Exception):  # noqa: N818 - it is a code on its way to the caller, not an error of the emulator
    """A call that ends with a return code other than 0.

    Attributes:
        code: number that the caller gets as `ret`.
        text: what `acl.get_recent_err_msg()` then says; empty when the device would say nothing.
        stream: the card's number of the stream whose task failed; 0 when it is no task's failure.
        task: number of that task on its stream, counted from 1; 0 when it is no task's failure.
    """

    def __init__(self, code: int, text: str = "", stream: int = 0, task: int = 0) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.stream = stream
        self.task = task
