"""Writes small `.om` files for tests, straight from the published layout, in any generation of it."""

import struct


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def attr(key, value):
    if isinstance(value, bool):
        body = field(5, int(value))
    elif isinstance(value, int):
        body = field(3, value)
    elif isinstance(value, float):
        body = varint(4 << 3 | 5) + struct.pack("<f", value)
    elif isinstance(value, str):
        body = field(2, value)
    elif value and isinstance(value[0], str):
        body = field(1, b"".join(field(2, item) for item in value))
    elif value and isinstance(value[0], bool):
        body = field(1, field(5, b"".join(varint(item) for item in value)))
    else:
        body = field(1, field(3, b"".join(varint(item) for item in value)))
    return field(1, key) + field(2, body)


GRAPH_DTYPE = {0: 1, 1: 2, 2: 3, 3: 7, 4: 4, 9: 8, 12: 11}
"""ge_ir.proto's number of an element type by ACL's."""


def desc(dtype, dims, packed=True):
    body = field(1, b"".join(varint(d) for d in dims)) if packed else b"".join(field(1, d) for d in dims)
    return field(2, GRAPH_DTYPE[dtype]) + field(3, body)


def op(name, kind, attrs=(), descs=(), sources=()):
    return (
        field(1, name)
        + field(2, kind)
        + b"".join(field(10, attr(key, value)) for key, value in attrs)
        + b"".join(field(24, node) + field(25, index) for node, index in sources)
        + b"".join(field(33, item) for item in descs)
    )


def code(number):
    """A compressed attribute name: base-127 digits, least significant first, each plus one."""
    key = "\0"
    while True:
        key += chr(number % 127 + 1)
        number //= 127
        if not number:
            return key


def tensor_block(tensors):
    out = struct.pack("<I", len(tensors))
    for name, dtype, dims in tensors:
        raw = struct.pack(f"<{len(dims)}q", *dims)
        out += (
            struct.pack("<QiiIIII", 0, 2, dtype, len(name), len(raw), len(raw), 0) + name.encode() + raw * 2
        )
    return out


def strings(items):
    raw = [item.encode() for item in items]
    return struct.pack(f"<I{len(raw)}I", len(raw), *map(len, raw)) + b"".join(raw)


def summary(inputs, outputs, gears=(), gear_dims=()):
    blocks = [(0, tensor_block(inputs)), (1, tensor_block(outputs))]
    if gears:
        blocks.append((2, struct.pack(f"<I{len(gears)}Q", len(gears), *gears)))
        blocks.append((5, strings(gear_dims)))
    return b"".join(struct.pack("<II", kind, len(payload)) + payload for kind, payload in blocks)


def model_def(attrs=(), ops=()):
    graph = field(1, "g") + b"".join(field(6, item) for item in ops)
    return field(1, "m") + field(7, graph) + b"".join(field(11, attr(key, value)) for key, value in attrs)


def container(sub_models, *, version=2, big=True, name="m", note=b"", dynamic=0):
    body = b""
    for partitions in sub_models:
        offset = 0
        entry = "<I4xQQ" if big else "<III"
        body += struct.pack("<I4x" if big else "<I", len(partitions))
        for kind, data in partitions:
            body += struct.pack(entry, kind, offset, len(data))
            offset += len(data)
        body += b"".join(data for _, data in partitions)
    header = bytearray(256)
    struct.pack_into("<4sII", header, 0, b"IMOD", 256, 0x10000000 if version == 1 else 0x20000000)
    header[84 : 84 + len(name)] = name.encode()
    header[120 : 120 + len(note)] = note
    if version == 1:
        header[156:166] = b"1.11.z.0\0\0"
    else:
        struct.pack_into("<I", header, 156, len(sub_models))
        header[160:168] = b"1.11.z.0"
    struct.pack_into("<Q" if big else "<I", header, 184 if big else 76, len(body))
    if dynamic:
        header[193] = 1
    return bytes(header) + body


def gear_model(soc="Ascend310P3", gears=(4, 1), note=b"", with_summary=True, name="m", scaling=True):
    """A two-output network with batch gears, in the form current ATC writes or, without summary, an older one."""
    largest = max(gears)
    inputs = [("image", 0, (-1, 3, 2)), ("ascend_mbatch_shape_data", 3, (1,))]
    outputs = [("/fc:0:logits", 0, (largest, 10)), ("/top:0:best:0", 9, (largest if scaling else 7, 1))]
    gear_dims = [
        f"{g},{o},{n},{w}" for o, w in ((0, 10), (1, 1)) for g, n in enumerate(gears) if o == 0 or scaling
    ]
    if not scaling:
        gear_dims.append("-1,1,7,1")
    ops = [
        op("ascend_mbatch_shape_data", "Data", [("index", 1)], [desc(3, (1,))]),
        op(
            "image",
            "Data",
            [("index", 0), ("_mbatch_origin_input_dims", [-1, 3, 2])],
            [desc(0, (largest, 3, 2))],
        ),
        op("conv", "Conv2D", [("pads", [0, 0])]),
        op(
            "ascend_mbatch_shape_case",
            "Case",
            [("_batch_num", len(gears)), ("mbatch_dynamic_type", 1)]
            + [(f"_pred_value_{i}", [n]) for i, n in enumerate(gears)],
        ),
        op(
            "out",
            "NetOutput",
            [("_dynamic_output_dims", gear_dims)],
            [desc(dtype, dims, packed=False) for _, dtype, dims in outputs],
        ),
    ]
    attrs = [
        ("soc_version", soc),
        ("atc_version", "7.6.0"),
        ("atc_cmdline", f"/opt/bin/atc.bin --model=m.onnx --soc_version={soc}"),
        ("memory_size", 4096),
        ("weight_size", 8),
        ("attr_model_out_nodes_name", [name for name, _, _ in outputs]),
    ]
    partitions = [(0, model_def(attrs, ops)), (1, b"weights!"), (3, b"k"), (2, b"t")]
    if with_summary:
        partitions.insert(0, (8, summary(inputs, outputs, gears, gear_dims)))
    return container([partitions], note=note, name=name)


def static_model(inputs, outputs, soc="Ascend310P3", note=b"", name="m"):
    """A network without gears; `inputs` and `outputs` are lists of (name, ACL dtype, dims)."""
    partitions = [(8, summary(inputs, outputs)), (0, model_def([("soc_version", soc)])), (1, b"weights!")]
    return container([partitions], note=note, name=name)
