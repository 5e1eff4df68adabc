"""Reads and writes safetensors files in plain Python: {name: (shape, flat array)}."""
import array
import json
import pathlib
import struct

CODES = {"F32": "f", "F64": "d", "I32": "i", "I64": "q"}
TYPES = {code: name for name, code in CODES.items()}


def read_tensors(path):
    """All tensors of a file; ValueError for element types other than those of CODES."""
    raw = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    tensors = {}
    for name, info in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        if info["dtype"] not in CODES:
            raise ValueError(f"{path}: {name} has the type {info['dtype']}, expected one of {', '.join(CODES)}")
        begin, end = info["data_offsets"]
        values = array.array(CODES[info["dtype"]])
        values.frombytes(raw[8 + size + begin : 8 + size + end])
        tensors[name] = (info["shape"], values)
    return tensors


def write_tensors(path, tensors):
    """A tensor whose elements the array holds as bits has a third entry: the name of their type."""
    header, body = {}, b""
    for name, (shape, values, *dtype) in tensors.items():
        data = values.tobytes()
        header[name] = {
            "dtype": dtype[0] if dtype else TYPES[values.typecode],
            "shape": list(shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)
