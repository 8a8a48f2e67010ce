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
    elif isinstance(value, dict):
        body = field(10, b"".join(field(2, attr(name, item)) for name, item in value.items()))
    elif value and isinstance(value[0], tuple):
        rows = [field(1, b"".join(varint(item) for item in row)) for row in value]
        body = field(14, b"".join(field(1, row) for row in rows))
    elif value and isinstance(value[0], str):
        body = field(1, b"".join(field(2, item) for item in value))
    elif value and isinstance(value[0], bool):
        body = field(1, field(5, b"".join(varint(item) for item in value)))
    else:
        body = field(1, field(3, b"".join(varint(item) for item in value)))
    return field(1, key) + field(2, body)


GRAPH_DTYPE = {0: 1, 1: 2, 2: 3, 3: 7, 4: 4, 9: 8, 12: 11}
"""ge_ir.proto's number of an element type by ACL's."""


def desc(dtype, dims, packed=True, layout="ND", size=0, attrs=()):
    body = field(1, b"".join(varint(d) for d in dims)) if packed else b"".join(field(1, d) for d in dims)
    coded = b"".join(field(5, attr(key, value)) for key, value in attrs)
    return field(2, GRAPH_DTYPE[dtype]) + field(3, body) + field(4, layout) + coded + field(10, size)


def op(name, kind, attrs=(), descs=(), sources=(), outputs=()):
    return (
        field(1, name)
        + field(2, kind)
        + b"".join(field(10, attr(key, value)) for key, value in attrs)
        + b"".join(field(24, node) + field(25, index) for node, index in sources)
        + b"".join(field(33, item) for item in descs)
        + b"".join(field(34, item) for item in outputs)
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
    """Tensors of (name, ACL dtype, dims) and, as far as given, (dims in memory, ranges, bytes, ACL format)."""
    out = struct.pack("<I", len(tensors))
    for name, dtype, dims, *more in tensors:
        memory, ranges, size, layout = (*more, *(dims, (), 0, 2)[len(more) :])
        raw, seen = (struct.pack(f"<{len(numbers)}q", *numbers) for numbers in (dims, memory))
        ends = struct.pack(f"<{2 * len(ranges)}q", *(end for pair in ranges for end in pair))
        title = name.encode()
        out += struct.pack("<QiiIIII", size, layout, dtype, len(title), len(raw), len(seen), len(ends))
        out += title + raw + seen + ends
    return out


def strings(items):
    raw = [item.encode() for item in items]
    return struct.pack(f"<I{len(raw)}I", len(raw), *map(len, raw)) + b"".join(raw)


def groups(gears):
    flat = [size for gear in gears for size in gear]
    return struct.pack(f"<I{len(gears)}I{len(flat)}Q", len(gears), *map(len, gears), *flat)


def summary(inputs, outputs, gears=(), gear_dims=(), order=()):
    """`gears` are batch sizes, or image sizes or dims as tuples of two or of more numbers."""
    blocks = [(0, tensor_block(inputs)), (1, tensor_block(outputs))]
    if gears and isinstance(gears[0], tuple):
        blocks.append((3 if len(gears[0]) == 2 else 4, groups(gears)))
        blocks.append((5, strings(gear_dims)))
    elif gears:
        blocks.append((2, struct.pack(f"<I{len(gears)}Q", len(gears), *gears)))
        blocks.append((5, strings(gear_dims)))
    if order:
        blocks.append((6, strings(order)))
    return b"".join(struct.pack("<II", kind, len(payload)) + payload for kind, payload in blocks)


def model_def(attrs=(), ops=(), *bodies):
    """A model with the operators of its main graph and of further ones."""
    graphs = [field(1, "g") + b"".join(field(6, item) for item in graph) for graph in (ops, *bodies)]
    return (
        field(1, "m")
        + b"".join(field(7, graph) for graph in graphs)
        + b"".join(field(11, attr(key, value)) for key, value in attrs)
    )


def table(partitions, big, align=1, from_table=False):
    """A partition table and its partitions, each begun at a multiple of `align` bytes behind the table's start."""
    entry, head = ("<I4xQQ", 8) if big else ("<III", 4)
    end = head + struct.calcsize(entry) * len(partitions)
    out = struct.pack("<I4x" if big else "<I", len(partitions))
    body = b"\0" * (-end % align)
    for kind, data in partitions:
        out += struct.pack(entry, kind, len(body) + (end if from_table else 0), len(data))
        body += data + b"\0" * (-len(data) % align)
    return out + body


def header(length, *, version=2, big=True, name="m", note=b"", dynamic=0, models=1, kind=0, host=0):
    head = bytearray(256)
    struct.pack_into("<4sII", head, 0, b"IMOD", 256, 0x10000000 if version == 1 else 0x20000000)
    head[82] = kind
    head[84 : 84 + len(name)] = name.encode()
    head[120 : 120 + len(note)] = note
    if version == 1:
        head[156:166] = b"1.11.z.0\0\0"
    else:
        struct.pack_into("<I", head, 156, models)
        head[160:168] = b"1.11.z.0"
        head[192:194] = bytes([host, dynamic])
    struct.pack_into("<Q" if big else "<I", head, 184 if big else 76, length)
    return bytes(head)


def container(sub_models, *, version=2, big=True, align=1, **fields):
    body = b"".join(table(partitions, big, align) for partitions in sub_models)
    return header(len(body), version=version, big=big, models=len(sub_models), **fields) + body


def bundle(*models):
    """Whole models in one file, whose length counts the header and whose offsets count the table."""
    body = table([(25, bytes(8)), *((24, model) for model in models)], True, from_table=True)
    return header(256 + len(body), kind=5, name="", models=len(models)) + body


def generation0():
    """A model of DDK 1.x: `domi.ModelDef` behind a version 1 header."""

    def tensor(dtype, dims, size):
        return field(2, dtype) + field(3, b"".join(varint(d) for d in dims)) + field(4, size)

    ops = [
        field(1, "data") + field(2, "Data") + field(12, tensor(0, (4, 3, 8, 8), 3072)),
        field(1, "fc") + field(2, "FullConnection") + field(12, tensor(1, (4, 3, 8, 8), 0)),
        field(1, "out")
        + field(2, "NetOutput")
        + field(8, "fc")
        + field(9, varint(0))
        + field(12, tensor(1, (4, 10, 1, 1), 160))
        + field(13, tensor(0, (4, 10, 1, 1), 160)),
    ]
    body = field(1, "vanilla") + field(10, 4096) + field(11, 2) + field(13, 512) + field(23, "MINI")
    body += b"".join(field(20, op) for op in ops)
    return header(len(body), version=1, big=False, name="") + body


def libraries(*items):
    """SO_BINS with libraries of (name, vendor, content)."""
    out = struct.pack("<I", len(items))
    for name, vendor, content in items:
        out += struct.pack("<IHHII", 0x5D776EFD, len(name), 0, len(vendor), len(content))
        out += name.encode() + vendor.encode() + content
    return out


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
