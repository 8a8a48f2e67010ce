"""Two rows of each datatype with what is hardest to carry in it; it runs in the clients' environments."""

import numpy as np

COLUMNS = 6
NUMPY = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
TYPED = [kind for kind in NUMPY if kind != "FP16"]
"""Those with a form beside bytes: in JSON, and in gRPC's typed contents."""


def rows(kind, finite=True):
    """An array (2, 6); without infinities and NaN, which JSON lacks, where it is to be finite."""
    dtype = NUMPY[kind]
    if dtype is np.bool_:
        return np.array([[1, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 1]], dtype)
    if np.issubdtype(dtype, np.integer):
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        return np.array([[least, least + 1, 0, 1, most - 1, most], [7, 6, 5, 4, 3, 2]], dtype)
    of = np.finfo(dtype)
    plain = [of.max, of.min, of.tiny, of.smallest_subnormal, -0.0, 1 / 3]
    odd = [np.inf, -np.inf, np.nan, 0.1, of.eps, -1e-3]
    return np.array([plain, np.nan_to_num(odd, posinf=2.5, neginf=-2.5, nan=0.7) if finite else odd], dtype)


def same(found, given):
    """Check that an output is its input with the columns reversed, bit by bit."""
    wanted = np.ascontiguousarray(given[:, ::-1])
    assert found.dtype == wanted.dtype, (found.dtype, wanted.dtype)
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    assert found.tobytes() == wanted.tobytes(), (found, wanted)


def another(kind):
    """An array of the datatype that follows in the list, and that datatype."""
    kinds = list(NUMPY)
    other = kinds[(kinds.index(kind) + 1) % len(kinds)]
    return rows(other), other
