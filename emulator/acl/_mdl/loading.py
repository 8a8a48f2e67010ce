"""Loading and unloading models (facts/pyacl.md §9.1)."""

from __future__ import annotations

from ascend_emulator.client.calling import function, ret, two_values_ret, value_ret
from ascend_emulator.client.models import content, loading
from ascend_emulator.client.models.config import refuse_queues
from ascend_emulator.client.models.loading import OwnMemory
from ascend_emulator.codes import INVALID_PARAM, Failure

__all__ = [
    "bundle_get_model_id",
    "bundle_get_model_num",
    "bundle_load_from_file",
    "bundle_load_from_mem",
    "bundle_unload",
    "load_from_file",
    "load_from_file_with_mem",
    "load_from_file_with_q",
    "load_from_mem",
    "load_from_mem_with_mem",
    "load_from_mem_with_q",
    "query_size",
    "query_size_from_mem",
    "unload",
]


@function("s", value_ret)
def load_from_file(path: str) -> tuple[int, int]:
    """`(model_id, ret)`."""
    return loading.load_file(path), 0


@function("skkkk", value_ret)
def load_from_file_with_mem(
    path: str, work: int, work_bytes: int, weights: int, weight_bytes: int
) -> tuple[int, int]:
    """`(model_id, ret)`; the memory is the program's, and address 0 the system's."""
    return loading.load_file(path, OwnMemory(work, work_bytes, weights, weight_bytes)), 0


@function("kk", value_ret)
def load_from_mem(address: int, size: int) -> tuple[int, int]:
    """`(model_id, ret)`; the memory may go right after the call."""
    return loading.load_memory(address, size), 0


@function("kkkkkk", value_ret)
def load_from_mem_with_mem(
    address: int, size: int, work: int, work_bytes: int, weights: int, weight_bytes: int
) -> tuple[int, int]:
    """`(model_id, ret)`; working memory and weights lie in the program's memory, at address 0 in the system's."""
    return loading.load_memory(address, size, OwnMemory(work, work_bytes, weights, weight_bytes)), 0


@function("skkkk", value_ret)
def load_from_file_with_q(
    path: str, inputs: int, input_count: int, outputs: int, output_count: int
) -> tuple[int, int]:
    """`(model_id, ret)`; models that are fed through queues are not emulated: 200001."""
    refuse_queues(inputs, input_count, outputs, output_count)
    return 0, 0


@function("kkkkkk", value_ret)
def load_from_mem_with_q(
    address: int, size: int, inputs: int, input_count: int, outputs: int, output_count: int
) -> tuple[int, int]:
    """`(model_id, ret)`; models that are fed through queues are not emulated: 200001."""
    refuse_queues(inputs, input_count, outputs, output_count)
    return 0, 0


@function("I", ret)
def unload(model_id: int) -> int:
    """Unload a model, but not one of a bundle."""
    loading.unload(model_id)
    return 0


@function("s", two_values_ret)
def query_size(path: str) -> tuple[int, int, int]:
    """`(work bytes, weight bytes, ret)` that a model will take."""
    return (*content.sizes(content.of_file(path)), 0)


@function("kk", two_values_ret)
def query_size_from_mem(address: int, size: int) -> tuple[int, int, int]:
    """`(work bytes, weight bytes, ret)` that a model will take."""
    return (*content.sizes(content.of_memory(address, size)), 0)


@function("s", value_ret)
def bundle_load_from_file(path: str) -> tuple[int, int]:
    """`(bundle_id, ret)`."""
    return loading.load_bundle(content.of_file(path)), 0


@function("kk", value_ret)
def bundle_load_from_mem(address: int, size: int) -> tuple[int, int]:
    """`(bundle_id, ret)`; the memory may go right after the call."""
    return loading.load_bundle(content.of_memory(address, size)), 0


@function("I", value_ret)
def bundle_get_model_num(bundle_id: int) -> tuple[int, int]:
    """`(number of models, ret)`."""
    return len(loading.models_of_bundle(bundle_id)), 0


@function("Ik", value_ret)
def bundle_get_model_id(bundle_id: int, index: int) -> tuple[int, int]:
    """`(model_id, ret)`."""
    models = loading.models_of_bundle(bundle_id)
    if index >= len(models):
        text = f"EH0001: index {index} should be smaller than the bundle's {len(models)} models."
        raise Failure(INVALID_PARAM, text)
    return models[index], 0


@function("I", ret)
def bundle_unload(bundle_id: int) -> int:
    """Unload a bundle and its models."""
    loading.unload_bundle(bundle_id)
    return 0
