// RUN: moe-opt %s --moe-join-kernels --split-input-file | FileCheck %s

// Behind a kernel of blocks, one of a single block: where the first one has only one block too, that one does both.
// CHECK-LABEL: func.func @joins
// CHECK-SAME: %[[N:[a-z0-9]+]]: index
// CHECK: %[[SINGLE:.*]] = arith.cmpi eq, %[[N]], %c1
// CHECK: scf.if %[[SINGLE]] {
// CHECK:   gpu.launch_func @kernels::@a_joined blocks in (%[[N]], %c1, %c1) threads in (%c128, %c1, %c1) args(%{{.*}} : memref<f32>, %{{.*}} : memref<i32>)
// CHECK: } else {
// CHECK:   gpu.launch_func @kernels::@a blocks in (%[[N]]
// CHECK:   gpu.launch_func @kernels::@b blocks in (%c1, %c1, %c1) threads in (%c512
// CHECK: }
// CHECK: gpu.func @a_joined(%[[X:.*]]: memref<f32>, %[[Y:.*]]: memref<i32>) workgroup(%[[W:.*]] : memref<64xi8, #gpu.address_space<workgroup>> {llvm.align = 128 : i64})
// CHECK-SAME: known_block_size = array<i32: 128, 1, 1>, moe.team = "block"
// CHECK: memref.store %{{.*}}, %[[X]][]
// CHECK: memref.store %{{.*}}, %[[Y]][]
// CHECK: gpu.return
module attributes {gpu.container_module} {
  func.func @joins(%n: index, %x: memref<f32>, %y: memref<i32>) {
    %c1 = arith.constant 1 : index
    %c128 = arith.constant 128 : index
    %c512 = arith.constant 512 : index
    gpu.launch_func @kernels::@a blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>)
    %more = memref.alloc(%n) : memref<?xf32>
    gpu.launch_func @kernels::@b blocks in (%c1, %c1, %c1) threads in (%c512, %c1, %c1) args(%y : memref<i32>)
    return
  }
  gpu.module @kernels {
    gpu.func @a(%x: memref<f32>) workgroup(%w: memref<64xi8, #gpu.address_space<workgroup>> {llvm.align = 128 : i64}) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "block"} {
      %f = arith.constant 1.0 : f32
      memref.store %f, %x[] : memref<f32>
      gpu.return
    }
    gpu.func @b(%y: memref<i32>) kernel attributes {known_block_size = array<i32: 512, 1, 1>, moe.team = "block"} {
      %i = arith.constant 1 : i32
      memref.store %i, %y[] : memref<i32>
      gpu.return
    }
  }
}

// -----

// Not if the second one has more blocks, if its team is a warp, or if something lies between them.
// CHECK-LABEL: func.func @stays
// CHECK-NOT: scf.if
module attributes {gpu.container_module} {
  func.func @stays(%n: index, %x: memref<f32>) {
    %c1 = arith.constant 1 : index
    %c128 = arith.constant 128 : index
    gpu.launch_func @kernels::@a blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>)
    gpu.launch_func @kernels::@a blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>)
    gpu.launch_func @kernels::@w blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>)
    gpu.launch_func @kernels::@a blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>)
    memref.dealloc %x : memref<f32>
    gpu.launch_func @kernels::@a blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>)
    return
  }
  gpu.module @kernels {
    gpu.func @a(%x: memref<f32>) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "block"} {
      gpu.return
    }
    gpu.func @w(%x: memref<f32>) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "warp"} {
      gpu.return
    }
  }
}
