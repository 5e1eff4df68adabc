// RUN: moe-opt %s --moe-form-kernels --split-input-file --verify-diagnostics

func.func @size(%count: memref<i32>, %a: memref<?xf32>) {
  %n = memref.load %count[] : memref<i32>
  %m = arith.index_cast %n : i32 to index
  // expected-error @below {{expected numbers that are known on the host but got one that a kernel computes}}
  %b = memref.alloc(%m) : memref<?xf32>
  memref.copy %a, %b : memref<?xf32> to memref<?xf32>
  return
}

// -----

func.func private @g(%n: i32)
func.func @call(%count: memref<i32>) {
  %n = memref.load %count[] : memref<i32>
  // expected-error @below {{expected numbers that are known on the host but got one that a kernel computes}}
  call @g(%n) : (i32) -> ()
  return
}
