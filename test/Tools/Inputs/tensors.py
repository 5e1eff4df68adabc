"""tensors.py write FILE NAME=SHAPE:V,V,... ...  writes a safetensors file of F32 tensors; SHAPE is 2x3.
tensors.py print FILE  prints name, type, shape and values, one tensor a line, in the order of names."""
import json
import struct
import sys

what, path = sys.argv[1:3]
if what == "write":
    header, body = {}, b""
    for text in sys.argv[3:]:
        name, rest = text.split("=")
        shape, values = rest.split(":")
        numbers = [float(value) for value in values.split(",")]
        data = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": [int(n) for n in shape.split("x")],
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + body)
else:
    with open(path, "rb") as file:
        raw = file.read()
    size = struct.unpack("<Q", raw[:8])[0]
    for name, info in sorted(json.loads(raw[8:8 + size]).items()):
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            data = raw[8 + size + begin:8 + size + end]
            values = struct.unpack(f"<{len(data) // 4}{'f' if info['dtype'] == 'F32' else 'i'}", data)
            print(name, info["dtype"], info["shape"], *values)
