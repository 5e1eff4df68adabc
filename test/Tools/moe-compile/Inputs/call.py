"""call.py LIBRARY [TIMES]: opens a model library through its C interface, runs entry `product` on one row, prints the
result and closes it; that one time or TIMES times."""
import ctypes
import sys


class Tensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("rank", ctypes.c_int),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("data", ctypes.c_void_p)]


library = ctypes.CDLL(sys.argv[1])
library.moe_open.restype = ctypes.c_void_p
error = ctypes.c_char_p()
for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
    model = library.moe_open(None, None, ctypes.byref(error))
    if not model:
        sys.exit(error.value.decode())
    row = (ctypes.c_float * 2)(1, 0)
    given = Tensor(b"x", 0, 2, (ctypes.c_int64 * 2)(1, 2), ctypes.cast(row, ctypes.c_void_p))
    results, count = ctypes.POINTER(Tensor)(), ctypes.c_size_t()
    status = library.moe_run(ctypes.c_void_p(model), b"product", ctypes.byref(given), ctypes.c_size_t(1),
                             ctypes.byref(results), ctypes.byref(count), ctypes.byref(error))
    if status:
        sys.exit(error.value.decode())
    print(*ctypes.cast(results[0].data, ctypes.POINTER(ctypes.c_float))[:3])
    library.moe_free_results(results, count)
    library.moe_close(ctypes.c_void_p(model))
