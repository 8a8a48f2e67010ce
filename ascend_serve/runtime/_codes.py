"""ACL return codes in words, and the exception each one becomes.

The numbers are `aclError` of `acl_base_rt.h`, `rt_error_codes.h` and `ge_error_codes.h`. The first digit is
the family (1 usage, 2 resource, 3 service, 5 device or driver), the next two the component that speaks (00
and 48 acl, 07 runtime, 45 graph engine). Three codes of the 5 family only say that a bounded wait ended; they
are kept apart, because a replica must not be restarted for them.
"""

from __future__ import annotations

from ascend_serve.errors import (
    AclDeviceFault,
    AclError,
    AclResourceError,
    AclServiceError,
    AclTaskFault,
    AclUsageError,
    AclWaitTimeout,
)

SUCCESS = 0
INVALID_PARAM = 100000
REPEAT_INITIALIZE = 100002
BAD_ALLOC = 200000
API_NOT_SUPPORT = 200001
FEATURE_UNSUPPORTED = 200006
RT_FEATURE_NOT_SUPPORT = 207000
RT_MEMORY_ALLOCATION = 207001

WAIT_TIMEOUTS = frozenset({507012, 507046, 507047})
"""REPORT_TIMEOUT, STREAM_SYNC_TIMEOUT, EVENT_SYNC_TIMEOUT."""

TASK_FAULTS = frozenset(
    {
        507011,  # MODEL_EXECUTE: what a failed run is told as where nothing more is known
        *range(507014, 507019),  # an AI core or AI CPU: took too long, raised an exception, trapped
        *range(507034, 507037),  # a vector core, likewise
        *range(507042, 507046),  # a core read or wrote past its memory
        *range(507048, 507051),  # a task graph
        545601,  # the model took too long
    }
)
"""Failures of a task that what it was given to compute may cause, such as an index out of range in a gather. A device
that is ill answers with them too; whether it is shows when it is opened again."""

_FAMILIES: dict[int, tuple[type[AclError], str]] = {
    1: (AclUsageError, "the call was wrong"),
    2: (AclResourceError, "a resource or feature is not to be had"),
    3: (AclServiceError, "the state of the service forbids it"),
    5: (AclDeviceFault, "the device, its firmware or its driver failed"),
}


def error_for(call: str, code: int, detail: str | None = None) -> AclError:
    """The exception for a code that an ACL call returned.

    Args:
        call: the pyACL function, such as `acl.rt.malloc`.
        code: what it returned; any number but 0.
        detail: the runtime's own words (`acl.get_recent_err_msg`), or None.

    Returns:
        An `AclWaitTimeout` for the ends of bounded waits, an `AclTaskFault` for `TASK_FAULTS`, else the class of the
        code's family. A code of no known family is an `AclDeviceFault`: nothing is known about the device any more.
    """
    kind, family = _FAMILIES.get(code // 100000, (AclDeviceFault, "a code outside all documented families"))
    if code in WAIT_TIMEOUTS:
        kind = AclWaitTimeout
    elif code in TASK_FAULTS:
        kind = AclTaskFault
    name, meaning = CODES.get(code, ("UNKNOWN", family))
    return kind(call, code, name, meaning, detail)


_ACL: dict[int, tuple[str, str]] = {
    100000: ("INVALID_PARAM", "an argument is null, zero, or out of its range"),
    100001: ("UNINITIALIZE", "ACL is not initialised"),
    100002: ("REPEAT_INITIALIZE", "ACL is initialised already"),
    100003: ("INVALID_FILE", "a file cannot be read"),
    100004: ("WRITE_FILE", "a file cannot be written"),
    100005: ("INVALID_FILE_SIZE", "a file has a size that is not allowed"),
    100006: ("PARSE_FILE", "the configuration file is not valid JSON"),
    100007: ("FILE_MISSING_ATTR", "the configuration file lacks a key"),
    100008: ("FILE_ATTR_INVALID", "the configuration file has a wrong value"),
    100009: ("INVALID_DUMP_CONFIG", "the dump configuration is wrong"),
    100010: ("INVALID_PROFILING_CONFIG", "the profiling configuration is wrong"),
    100011: ("INVALID_MODEL_ID", "no model of this id is loaded"),
    100012: ("DESERIALIZE_MODEL", "the model cannot be deserialised"),
    100013: ("PARSE_MODEL", "the model cannot be parsed"),
    100014: ("READ_MODEL_FAILURE", "the model cannot be read"),
    100015: ("MODEL_SIZE_INVALID", "the model has a wrong size"),
    100016: ("MODEL_MISSING_ATTR", "the model lacks an attribute"),
    100017: ("MODEL_INPUT_NOT_MATCH", "the inputs do not fit the model"),
    100018: ("MODEL_OUTPUT_NOT_MATCH", "the outputs do not fit the model"),
    100019: ("MODEL_NOT_DYNAMIC", "the model has no dynamic gears"),
    100020: ("OP_TYPE_NOT_MATCH", "the operator's type does not match"),
    100021: ("OP_INPUT_NOT_MATCH", "the operator's inputs do not match"),
    100022: ("OP_OUTPUT_NOT_MATCH", "the operator's outputs do not match"),
    100023: ("OP_ATTR_NOT_MATCH", "the operator's attributes do not match"),
    100024: ("OP_NOT_FOUND", "the operator is not found"),
    100025: ("OP_LOAD_FAILED", "the operator cannot be loaded"),
    100026: ("UNSUPPORTED_DATA_TYPE", "the data type is not supported"),
    100027: ("FORMAT_NOT_MATCH", "the tensor format does not match"),
    100028: ("BIN_SELECTOR_NOT_REGISTERED", "no selector is registered for the operator binary"),
    100029: ("KERNEL_NOT_FOUND", "the kernel is not found"),
    100030: ("BIN_SELECTOR_ALREADY_REGISTERED", "a selector is registered for the operator binary already"),
    100031: ("KERNEL_ALREADY_REGISTERED", "the kernel is registered already"),
    100032: ("INVALID_QUEUE_ID", "no queue of this id"),
    100033: ("REPEAT_SUBSCRIBE", "the thread or stream is subscribed already"),
    100034: ("STREAM_NOT_SUBSCRIBE", "the stream is not subscribed"),
    100035: ("THREAD_NOT_SUBSCRIBE", "the thread is not subscribed"),
    100036: ("WAIT_CALLBACK_TIMEOUT", "no callback came in time"),
    100037: ("REPEAT_FINALIZE", "ACL is finalised already"),
    100038: ("NOT_STATIC_AIPP", "the model has no static AIPP"),
    100039: ("COMPILING_STUB_MODE", "a stub library is linked instead of the runtime: check LD_LIBRARY_PATH"),
    100040: ("GROUP_NOT_SET", "no group is set"),
    100041: ("GROUP_NOT_CREATE", "no group is created"),
    100042: ("PROF_ALREADY_RUN", "profiling runs already"),
    100043: ("PROF_NOT_RUN", "profiling does not run"),
    100044: ("DUMP_ALREADY_RUN", "dumping runs already"),
    100045: ("DUMP_NOT_RUN", "dumping does not run"),
    148046: ("PROF_REPEAT_SUBSCRIBE", "the model is subscribed for profiling already"),
    148047: ("PROF_API_CONFLICT", "profiling calls of two kinds are mixed"),
    148048: ("INVALID_MAX_OPQUEUE_NUM_CONFIG", "max_opqueue_num is wrong"),
    148049: ("INVALID_OPP_PATH", "ASCEND_OPP_PATH is wrong"),
    148050: ("OP_UNSUPPORTED_DYNAMIC", "the operator has no dynamic shape"),
    148051: ("RELATIVE_RESOURCE_NOT_CLEARED", "related resources are still in use"),
    148052: ("UNSUPPORTED_JPEG", "the JPEG format is not supported"),
    148053: ("INVALID_BUNDLE_MODEL_ID", "no model bundle of this id"),
    200000: ("BAD_ALLOC", "host memory ran out, or an object could not be made"),
    200001: ("API_NOT_SUPPORT", "this call is not supported here"),
    200002: ("INVALID_DEVICE", "the device cannot be used"),
    200003: ("MEMORY_ADDRESS_UNALIGNED", "an address is not aligned"),
    200004: ("RESOURCE_NOT_MATCH", "resources do not belong together"),
    200005: ("INVALID_RESOURCE_HANDLE", "a resource handle is not valid"),
    200006: ("FEATURE_UNSUPPORTED", "this feature is not supported here"),
    200007: ("PROF_MODULES_UNSUPPORTED", "profiling of this module is not supported here"),
    300000: ("STORAGE_OVER_LIMIT", "a storage limit is passed"),
    500000: ("INTERNAL_ERROR", "an error inside ACL"),
    500001: ("FAILURE", "an unnamed failure inside ACL"),
    500002: ("GE_FAILURE", "a failure inside the graph engine"),
    500003: ("RT_FAILURE", "a failure inside the runtime"),
    500004: ("DRV_FAILURE", "a failure inside the driver"),
    500005: ("PROFILING_FAILURE", "a failure inside profiling"),
}

_RUNTIME: dict[int, tuple[str, str]] = {
    107000: ("RT_PARAM_INVALID", "the runtime refuses an argument"),
    107001: ("RT_INVALID_DEVICEID", "no such device here; ASCEND_RT_VISIBLE_DEVICES decides what is seen"),
    107002: ("RT_CONTEXT_NULL", "the calling thread has no current context"),
    107003: ("RT_STREAM_CONTEXT", "the stream belongs to another context than the thread's"),
    107004: ("RT_MODEL_CONTEXT", "the model belongs to another context than the thread's"),
    107005: ("RT_STREAM_MODEL", "the stream is bound to another model"),
    107006: ("RT_EVENT_TIMESTAMP_INVALID", "the event has no time stamp yet"),
    107007: ("RT_EVENT_TIMESTAMP_REVERSAL", "the end event lies before the start event"),
    107008: ("RT_ADDR_UNALIGNED", "an address is not aligned"),
    107009: ("RT_FILE_OPEN", "a file cannot be opened"),
    107010: ("RT_FILE_WRITE", "a file cannot be written"),
    107011: ("RT_STREAM_SUBSCRIBE", "the stream's subscription is wrong"),
    107012: ("RT_THREAD_SUBSCRIBE", "the thread's subscription is wrong"),
    107013: ("RT_GROUP_NOT_SET", "no group is set"),
    107014: ("RT_GROUP_NOT_CREATE", "no group is created"),
    107015: ("RT_STREAM_NO_CB_REG", "no callback is registered on the stream"),
    107016: ("RT_INVALID_MEMORY_TYPE", "the memory is of the wrong kind"),
    107017: ("RT_INVALID_HANDLE", "a handle is not valid"),
    107018: ("RT_INVALID_MALLOC_TYPE", "the allocation policy is not valid"),
    107019: ("RT_WAIT_TIMEOUT", "waiting took too long"),
    107020: ("RT_TASK_TIMEOUT", "a task took too long"),
    107021: ("RT_SYSPARAMOPT_NOT_SET", "a system parameter is not set"),
    107022: ("RT_DEVICE_TASK_ABORT", "the device's tasks were aborted"),
    107023: ("RT_STREAM_ABORT", "the stream was aborted"),
    207000: ("RT_FEATURE_NOT_SUPPORT", "this feature is not supported here"),
    207001: ("RT_MEMORY_ALLOCATION", "device or pinned memory ran out"),
    207002: ("RT_MEMORY_FREE", "memory could not be freed"),
    207003: ("RT_AICORE_OVER_FLOW", "an AI core computation overflowed"),
    207004: ("RT_NO_DEVICE", "no device is there"),
    207005: ("RT_RESOURCE_ALLOC_FAIL", "a resource could not be allocated"),
    207006: ("RT_NO_PERMISSION", "permission is missing; is the user in group HwHiAiUser?"),
    207007: ("RT_NO_EVENT_RESOURCE", "the device's events ran out"),
    207008: ("RT_NO_STREAM_RESOURCE", "the device's streams ran out"),
    207009: ("RT_NO_NOTIFY_RESOURCE", "the device's notifies ran out"),
    207010: ("RT_NO_MODEL_RESOURCE", "the device's models ran out"),
    207011: ("RT_NO_CDQ_RESOURCE", "the device's command queues ran out"),
    207012: ("RT_OVER_LIMIT", "a limit is passed"),
    207013: ("RT_QUEUE_EMPTY", "the queue is empty"),
    207014: ("RT_QUEUE_FULL", "the queue is full"),
    207015: ("RT_REPEATED_INIT", "it is initialised already"),
    207016: ("RT_AIVEC_OVER_FLOW", "a vector core computation overflowed"),
    207017: ("RT_OVER_FLOW", "a computation overflowed"),
    207018: ("RT_DEVICE_OOM", "device memory ran out"),
    207019: ("RT_FEATURE_NOT_SUPPORT_UPDATE_OP", "the operator cannot be updated here"),
    207020: ("RT_TIMEOUT", "the driver took too long"),
    207021: ("RT_LINK_TYPE_NOT_SUPPORTED", "the link between the devices is not supported"),
    507000: ("RT_INTERNAL_ERROR", "an error inside the runtime"),
    507001: ("RT_TS_ERROR", "the task scheduler failed"),
    507002: ("RT_STREAM_TASK_FULL", "the stream holds as many tasks as it can"),
    507003: ("RT_STREAM_TASK_EMPTY", "the stream holds no task"),
    507004: ("RT_STREAM_NOT_COMPLETE", "the stream's work is not complete"),
    507005: ("RT_END_OF_SEQUENCE", "the sequence has ended"),
    507006: ("RT_EVENT_NOT_COMPLETE", "the event is not complete"),
    507007: ("RT_CONTEXT_RELEASE_ERROR", "the device was reset more often than set"),
    507008: ("RT_SOC_VERSION", "the SoC version is wrong"),
    507009: ("RT_TASK_TYPE_NOT_SUPPORT", "the kind of task is not supported"),
    507010: ("RT_LOST_HEARTBEAT", "the device no longer answers"),
    507011: ("RT_MODEL_EXECUTE", "the model failed while it ran"),
    507012: ("RT_REPORT_TIMEOUT", "no report came within the time given"),
    507013: ("RT_SYS_DMA", "a DMA transfer failed"),
    507014: ("RT_AICORE_TIMEOUT", "an AI core took too long"),
    507015: ("RT_AICORE_EXCEPTION", "an AI core raised an exception"),
    507016: ("RT_AICORE_TRAP_EXCEPTION", "an AI core trapped"),
    507017: ("RT_AICPU_TIMEOUT", "an AI CPU took too long"),
    507018: ("RT_AICPU_EXCEPTION", "an AI CPU raised an exception"),
    507019: ("RT_AICPU_DATADUMP_RSP_ERR", "an AI CPU failed to dump data"),
    507020: ("RT_AICPU_MODEL_RSP_ERR", "an AI CPU failed to answer for a model"),
    507021: ("RT_PROFILING_ERROR", "profiling failed"),
    507022: ("RT_IPC_ERROR", "communication between processes failed"),
    507023: ("RT_MODEL_ABORT_NORMAL", "the model was aborted"),
    507024: ("RT_KERNEL_UNREGISTERING", "the kernel is being unregistered"),
    507025: ("RT_RINGBUFFER_NOT_INIT", "the error ring buffer is not initialised"),
    507026: ("RT_RINGBUFFER_NO_DATA", "the error ring buffer is empty"),
    507027: ("RT_KERNEL_LOOKUP", "the kernel is not registered"),
    507028: ("RT_KERNEL_DUPLICATE", "the kernel is registered twice"),
    507029: ("RT_DEBUG_REGISTER_FAIL", "debugging could not be registered"),
    507030: ("RT_DEBUG_UNREGISTER_FAIL", "debugging could not be unregistered"),
    507031: ("RT_LABEL_CONTEXT", "the label belongs to another context"),
    507032: ("RT_PROGRAM_USE_OUT", "the program slots ran out"),
    507033: ("RT_DEV_SETUP_ERROR", "the device cannot start: held by another container, or the wrong driver"),
    507034: ("RT_VECTOR_CORE_TIMEOUT", "a vector core took too long"),
    507035: ("RT_VECTOR_CORE_EXCEPTION", "a vector core raised an exception"),
    507036: ("RT_VECTOR_CORE_TRAP_EXCEPTION", "a vector core trapped"),
    507037: ("RT_CDQ_BATCH_ABNORMAL", "a command queue batch failed"),
    507038: ("RT_DIE_MODE_CHANGE_ERROR", "the die mode could not be changed"),
    507039: ("RT_DIE_SET_ERROR", "the die could not be set"),
    507040: ("RT_INVALID_DIEID", "no such die"),
    507041: ("RT_DIE_MODE_NOT_SET", "the die mode is not set"),
    507042: ("RT_AICORE_TRAP_READ_OVERFLOW", "an AI core read past its memory"),
    507043: ("RT_AICORE_TRAP_WRITE_OVERFLOW", "an AI core wrote past its memory"),
    507044: ("RT_VECTOR_CORE_TRAP_READ_OVERFLOW", "a vector core read past its memory"),
    507045: ("RT_VECTOR_CORE_TRAP_WRITE_OVERFLOW", "a vector core wrote past its memory"),
    507046: ("RT_STREAM_SYNC_TIMEOUT", "the stream's work did not end within the time given"),
    507047: ("RT_EVENT_SYNC_TIMEOUT", "the event did not come within the time given"),
    507048: ("RT_FFTS_PLUS_TIMEOUT", "a task graph took too long"),
    507049: ("RT_FFTS_PLUS_EXCEPTION", "a task graph raised an exception"),
    507050: ("RT_FFTS_PLUS_TRAP_EXCEPTION", "a task graph trapped"),
    507051: ("RT_SEND_MSG", "a message could not be sent to the device"),
    507052: ("RT_COPY_DATA", "data could not be copied to or from the device"),
    507053: ("RT_DEVICE_MEM_ERROR", "device memory failed"),
    507054: ("RT_HBM_MULTI_BIT_ECC_ERROR", "high-bandwidth memory has an error that cannot be corrected"),
    507055: ("RT_SUSPECT_DEVICE_MEM_ERROR", "device memory is suspected to have failed"),
    507056: ("RT_LINK_ERROR", "the link to the device or between devices failed"),
    507057: ("RT_SUSPECT_REMOTE_ERROR", "another device is suspected to have failed"),
    507899: ("RT_DRV_INTERNAL_ERROR", "an error inside the driver"),
    507900: ("RT_AICPU_INTERNAL_ERROR", "an error inside an AI CPU"),
    507901: ("RT_SOCKET_CLOSE", "the connection to the device daemon was closed"),
    507902: ("RT_AICPU_INFO_LOAD_RSP_ERR", "an AI CPU failed to load its data"),
    507903: ("RT_STREAM_CAPTURE_INVALIDATED", "the capture of the stream is no longer valid"),
    507904: ("RT_COMM_OP_RETRY_FAIL", "a communication operator failed after its retries"),
    507914: ("RT_L3_PORT_ERROR", "a port of the link between devices failed"),
    507915: ("RT_CCU_TIMEOUT", "the collective communication unit took too long"),
    507916: ("RT_CCU_EXCEPTION", "the collective communication unit raised an exception"),
}
for _code in range(107024, 107046):
    _RUNTIME[_code] = ("RT_CAPTURE_OR_SYMBOL", "stream capture or a symbol was used wrongly")
for _code in range(507905, 507914):
    _RUNTIME[_code] = ("RT_SNAPSHOT_OR_HOST_REGISTER", "a snapshot or the registration of host memory failed")

_GRAPH_ENGINE: dict[int, tuple[str, str]] = {
    145000: ("GE_PARAM_INVALID", "the data set does not fit the model, or an argument is wrong"),
    145001: ("GE_EXEC_NOT_INIT", "the executor is not initialised: acl.init was not called"),
    145002: ("GE_EXEC_MODEL_PATH_INVALID", "the model file is missing or cannot be read"),
    145003: ("GE_EXEC_MODEL_ID_INVALID", "no model of this id is loaded"),
    145006: ("GE_EXEC_MODEL_DATA_SIZE_INVALID", "the model file is cut short or no offline model"),
    145007: ("GE_EXEC_MODEL_ADDR_INVALID", "the model's address is wrong"),
    145008: ("GE_EXEC_MODEL_QUEUE_ID_INVALID", "a queue id of the model is wrong"),
    145009: ("GE_EXEC_LOAD_MODEL_REPEATED", "the model is loaded already"),
    145011: ("GE_DYNAMIC_INPUT_ADDR_INVALID", "the gear input has no memory"),
    145012: ("GE_DYNAMIC_INPUT_LENGTH_INVALID", "the gear input is too small, or has a wrong number of dims"),
    145013: ("GE_DYNAMIC_BATCH_SIZE_INVALID", "the model was not compiled for this gear"),
    145014: ("GE_AIPP_BATCH_EMPTY", "AIPP has no batch"),
    145015: ("GE_AIPP_NOT_EXIST", "the model has no AIPP"),
    145016: ("GE_AIPP_MODE_INVALID", "the AIPP mode is wrong"),
    145017: ("GE_OP_TASK_TYPE_INVALID", "an operator's task type is wrong"),
    145018: ("GE_OP_KERNEL_TYPE_INVALID", "an operator's kernel type is wrong"),
    145019: ("GE_PLGMGR_PATH_INVALID", "the plugin path is wrong"),
    145020: ("GE_FORMAT_INVALID", "a tensor format is wrong"),
    145021: ("GE_SHAPE_INVALID", "a shape is wrong"),
    145022: ("GE_DATATYPE_INVALID", "a data type is wrong"),
    245000: ("GE_MEMORY_ALLOCATION", "memory for the model ran out"),
    245001: ("GE_MEMORY_OPERATE_FAILED", "memory could not be set or copied"),
    245002: ("GE_DEVICE_MEMORY_OPERATE_FAILED", "device memory could not be set or copied"),
    345102: ("GE_SUBHEALTHY", "a part of the deployment is ill"),
    345103: ("GE_USER_RAISE_EXCEPTION", "a user function raised an exception"),
    345104: ("GE_DATA_NOT_ALIGNED", "data is not aligned"),
    545000: ("GE_INTERNAL_ERROR", "an error inside the graph engine"),
    545001: ("GE_LOAD_MODEL", "the model could not be loaded"),
    545002: ("GE_EXEC_LOAD_MODEL_PARTITION_FAILED", "the model's definition could not be loaded"),
    545003: ("GE_EXEC_LOAD_WEIGHT_PARTITION_FAILED", "the model's weights could not be loaded"),
    545004: ("GE_EXEC_LOAD_TASK_PARTITION_FAILED", "the model's tasks could not be loaded"),
    545005: ("GE_EXEC_LOAD_KERNEL_PARTITION_FAILED", "the model's kernels could not be loaded"),
    545006: ("GE_EXEC_RELEASE_MODEL_DATA", "the model's data could not be released"),
    545007: ("GE_COMMAND_HANDLE", "a command could not be handled"),
    545008: ("GE_GET_TENSOR_INFO", "a tensor's description could not be had"),
    545009: ("GE_UNLOAD_MODEL", "the model could not be unloaded"),
    545601: ("GE_MODEL_EXECUTE_TIMEOUT", "the model took too long"),
    545602: ("GE_REDEPLOYING", "the deployment is being renewed"),
}

CODES: dict[int, tuple[str, str]] = {**_ACL, **_RUNTIME, **_GRAPH_ENGINE}
"""code -> (name in the ACL headers without `ACL_ERROR_`, meaning)."""

MODEL_FILE_REFUSALS = frozenset(
    {*range(100012, 100017), 145000, 145002, 145006, 545000, 545001, 545002, 545003, 545004, 545005}
)
"""What a load answers when the file, and not the device, is at fault (facts: pyACL §9.1)."""
