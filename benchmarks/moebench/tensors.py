"""Safetensors files through numpy; bfloat16 is kept as uint16 (numpy has no such type)."""
import json
import struct

import numpy as np

_TYPES = {"F32": np.dtype("<f4"), "BF16": np.dtype("<u2")}


def to_bf16(values):
    """f32 array -> uint16 array of the nearest bfloat16 values (ties to even; finite values only)."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def from_bf16(bits):
    """uint16 array of bfloat16 values -> f32 array."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def as_f32(array):
    """f32, or bfloat16 held as uint16, as f32."""
    return from_bf16(array) if array.dtype == np.uint16 else array


class Writer:
    """Writes a safetensors file tensor by tensor, so that no more than one piece of it is in memory."""

    def __init__(self, path, shapes, dtype):
        self._file = open(path, "wb")
        header, offset = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape)) * _TYPES[dtype].itemsize
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header).encode()
        text += b" " * (-(len(text) + 8) % 64)
        self._file.write(struct.pack("<Q", len(text)) + text)

    def write(self, array):
        """The next piece of the tensors, which follow each other in the order of `shapes`."""
        array.tofile(self._file)

    def close(self):
        self._file.close()


def map_tensors(path):
    """{name: read-only array} of a file, mapped: processes that read the same file share its memory."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    tensors = {}
    for name, info in header.items():
        if name != "__metadata__":
            tensors[name] = np.memmap(path, dtype=_TYPES[info["dtype"]], mode="r", offset=8 + size + info["data_offsets"][0],
                                      shape=tuple(info["shape"]))
    return tensors
