"""Which function of `acl` means what (facts/pyacl.md §5-§14). A function that is not named here means nothing."""

from __future__ import annotations

from ascend_emulator.strict.blocks import Memory
from ascend_emulator.strict.meaning import Meaning, Releases
from ascend_emulator.strict.memory_calls import (
    Allocates,
    Closes,
    Frees,
    Imports,
    Inspects,
    Names,
    Reads,
    Registers,
    Shares,
    Unregisters,
    Views,
)
from ascend_emulator.strict.model_calls import Executes, Loads, SetsGear, Unloads
from ascend_emulator.strict.order_calls import (
    Creates,
    Destroys,
    Finalizes,
    ForgetsEvent,
    Launches,
    Records,
    Resets,
    Waits,
    WaitsForEvent,
)
from ascend_emulator.strict.queueing import Copies, Copies2d, Fills

PROBES = frozenset(("acl.rt.get_device", "acl.rt.get_context"))
"""Calls by which a program asks whether the thread has a context: 107002 is their answer, not a misuse."""

_MEMORY: dict[str, Meaning] = {
    **{
        f"acl.rt.{name}": Allocates(Memory.DEVICE, "acl.rt.free")
        for name in (
            "malloc",
            "malloc_align32",
            "malloc_cached",
            "malloc_with_cfg",
            "malloc_for_task_scheduler",
        )
    },
    **{
        f"acl.rt.{name}": Allocates(Memory.PINNED, "acl.rt.free_host")
        for name in ("malloc_host", "malloc_host_with_cfg")
    },
    "acl.media.dvpp_malloc": Allocates(Memory.DEVICE, "acl.media.dvpp_free"),
    "acl.media.dvpp_malloc_with_cfg": Allocates(Memory.DEVICE, "acl.media.dvpp_free"),
    "acl.himpi.dvpp_malloc": Allocates(Memory.DEVICE, "acl.himpi.dvpp_free", size=1),
    "acl.rt.reserve_mem_address": Allocates(Memory.RESERVED, "acl.rt.release_mem_address"),
    **{
        f"acl.{name}": Frees()
        for name in (
            "rt.free",
            "rt.free_host",
            "rt.release_mem_address",
            "media.dvpp_free",
            "himpi.dvpp_free",
        )
    },
    "acl.rt.ipc_mem_get_export_key": Shares(),
    "acl.rt.ipc_mem_import_by_key": Imports(),
    "acl.rt.ipc_mem_close": Closes(),
    "acl.rt.pointer_get_attributes": Inspects(),
    "acl.rt.mem_flush": Names(),
    "acl.rt.mem_invalidate": Names(),
    "acl.rt.host_register": Registers(),
    "acl.rt.host_register_v2": Registers(),
    "acl.rt.host_unregister": Unregisters(),
    "acl.rt.memcpy": Copies(),
    "acl.rt.memcpy_async": Copies(stream=5),
    "acl.rt.memcpy_async_with_condition": Copies(stream=5, any_memory=True),
    "acl.rt.memcpy2d": Copies2d(),
    "acl.rt.memcpy2d_async": Copies2d(stream=7),
    "acl.rt.memset": Fills(),
    "acl.rt.memset_async": Fills(stream=4),
    "acl.rt.get_mem_info": Releases(),
    "acl.util.ptr_to_bytes": Reads(),
    "acl.util.ptr_to_numpy": Views(),
}

_MODELS: dict[str, Meaning] = {
    **{
        f"acl.mdl.{name}": Loads() for name in ("load_from_file", "load_from_file_with_q", "load_with_config")
    },
    "acl.mdl.load_from_mem": Loads(reads=True),
    "acl.mdl.load_from_mem_with_q": Loads(reads=True),
    "acl.mdl.load_from_file_with_mem": Loads(lent=(1, 3)),
    "acl.mdl.load_from_mem_with_mem": Loads(reads=True, lent=(2, 4)),
    "acl.mdl.unload": Unloads(),
    "acl.mdl.bundle_load_from_file": Loads("bundle"),
    "acl.mdl.bundle_load_from_mem": Loads("bundle", reads=True),
    "acl.mdl.bundle_unload": Unloads("bundle"),
    "acl.mdl.execute": Executes(waits=True),
    "acl.mdl.execute_async": Executes(stream=3),
    "acl.mdl.execute_v2": Executes(stream=3, waits=True),
    "acl.mdl.set_dynamic_batch_size": SetsGear(),
    "acl.mdl.set_dynamic_hw_size": SetsGear(),
    "acl.mdl.set_input_dynamic_dims": SetsGear(),
}

_HANDLES: dict[str, Meaning] = {
    f"acl.{name}": meaning
    for what, makers, ender in (
        ("context", ("rt.create_context",), "rt.destroy_context"),
        ("stream", ("rt.create_stream", "rt.create_stream_with_config"), "rt.destroy_stream"),
        ("stream", (), "rt.destroy_stream_force"),
        (
            "event",
            ("rt.create_event", "rt.create_event_with_flag", "rt.create_event_ex_with_flag"),
            "rt.destroy_event",
        ),
        ("physical memory", ("rt.malloc_physical",), "rt.free_physical"),
        ("data buffer", ("create_data_buffer",), "destroy_data_buffer"),
        (
            "tensor description",
            ("create_tensor_desc", "trans_tensor_desc_format"),
            "destroy_tensor_desc",
        ),
        ("dataset", ("mdl.create_dataset",), "mdl.destroy_dataset"),
        ("model description", ("mdl.create_desc",), "mdl.destroy_desc"),
        ("load configuration", ("mdl.create_config_handle",), "mdl.destroy_config_handle"),
        ("execution configuration", ("mdl.create_exec_config_handle",), "mdl.destroy_exec_config_handle"),
        ("AIPP setting", ("mdl.create_aipp",), "mdl.destroy_aipp"),
        ("profiling configuration", ("prof.create_config",), "prof.destroy_config"),
        ("subscription", ("prof.create_subscribe_config",), "prof.destroy_subscribe_config"),
        ("operator attributes", ("op.create_attr",), "op.destroy_attr"),
    )
    for name, meaning in (*((maker, Creates(what)) for maker in makers), (ender, Destroys(what)))
}

_ORDER: dict[str, Meaning] = {
    "acl.rt.record_event": Records(),
    "acl.rt.stream_wait_event": WaitsForEvent(),
    "acl.rt.reset_event": ForgetsEvent(),
    "acl.rt.launch_callback": Launches(),
    "acl.rt.synchronize_stream": Waits("stream"),
    "acl.rt.synchronize_stream_with_timeout": Waits("stream"),
    "acl.rt.stream_query": Waits("stream", done=0),
    "acl.rt.synchronize_event": Waits("event"),
    "acl.rt.synchronize_event_with_timeout": Waits("event"),
    "acl.rt.query_event": Waits("event", done=0),
    "acl.rt.query_event_status": Waits("event", done=1),
    "acl.rt.event_get_timestamp": Waits("event"),
    "acl.rt.event_elapsed_time": Waits("events"),
    "acl.rt.synchronize_device": Waits("device"),
    "acl.rt.synchronize_device_with_timeout": Waits("device"),
    "acl.rt.reset_device": Resets(),
    "acl.rt.reset_device_force": Resets(),
    "acl.finalize": Finalizes(),
    "acl.finalize_reference": Finalizes(),
}

NOTHING = Meaning()
"""The meaning of every other function."""

MEANINGS: dict[str, Meaning] = {**_MEMORY, **_MODELS, **_HANDLES, **_ORDER}
"""Full name of a function -> its meaning."""
