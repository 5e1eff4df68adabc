// RUN: moe-opt %s | FileCheck %s
// RUN: moe-opt %s -mlir-print-op-generic | moe-opt | FileCheck %s

// Every op in every syntactic form; what is printed is what was read.

// CHECK-LABEL: func.func @top_k
// CHECK-SAME: %[[V:.*]]: tensor<?x8xf32>, %[[KEYS:.*]]: tensor<?x8xbf16>, %[[K:.*]]: index
func.func @top_k(%v: tensor<?x8xf32>, %keys: tensor<?x8xbf16>, %k: index) {
  // CHECK: %{{.*}}, %{{.*}} = moe.top_k %[[V]] {k = 2 : i64} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %s0, %i0 = moe.top_k %v {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  // CHECK: moe.top_k %[[V]] keys(%[[KEYS]] : tensor<?x8xbf16>) {k = 8 : i64} : tensor<?x8xf32> -> tensor<?x8xf32>, tensor<?x8xi32>
  %s1, %i1 = moe.top_k %v keys(%keys : tensor<?x8xbf16>) {k = 8} : tensor<?x8xf32> -> tensor<?x8xf32>, tensor<?x8xi32>
  // CHECK: moe.top_k %[[V]] k(%[[K]]) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  %s2, %i2 = moe.top_k %v k(%k) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  // CHECK: moe.top_k %[[V]] keys(%[[KEYS]] : tensor<?x8xbf16>) k(%[[K]]) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  %s3, %i3 = moe.top_k %v keys(%keys : tensor<?x8xbf16>) k(%k) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  // CHECK: moe.top_k %[[V]] {groups = #moe.groups<count = 4, keep = 2, score = sum_top2, masked = "-inf">, k = 2 : i64}
  %s4, %i4 = moe.top_k %v {k = 2, groups = #moe.groups<count = 4, keep = 2, score = sum_top2, masked = "-inf">}
    : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  // CHECK: moe.top_k %[[V]] {groups = #moe.groups<count = 8, keep = 8, score = max, masked = "zero">, k = 2 : i64}
  %s5, %i5 = moe.top_k %v {k = 2, groups = #moe.groups<count = 8, keep = 8, score = max, masked = "zero">}
    : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return
}

// CHECK-LABEL: func.func @top_k_types
func.func @top_k_types(%a: tensor<0x1xf16>, %b: tensor<4x3xf64>, %tokens: tensor<4x?xf32>) {
  // CHECK: moe.top_k %{{.*}} {k = 1 : i64} : tensor<0x1xf16> -> tensor<0x1xf16>, tensor<0x1xi32>
  %s0, %i0 = moe.top_k %a {k = 1} : tensor<0x1xf16> -> tensor<0x1xf16>, tensor<0x1xi32>
  // CHECK: moe.top_k %{{.*}} {k = 3 : i64} : tensor<4x3xf64> -> tensor<?x3xf64>, tensor<4x3xi32>
  %s1, %i1 = moe.top_k %b {k = 3} : tensor<4x3xf64> -> tensor<?x3xf64>, tensor<4x3xi32>
  // CHECK: moe.top_k %{{.*}} {k = 3 : i64} : tensor<4x?xf32> -> tensor<4x3xf32>, tensor<4x3xi32>
  %s2, %i2 = moe.top_k %tokens {k = 3} : tensor<4x?xf32> -> tensor<4x3xf32>, tensor<4x3xi32>
  return
}

// CHECK-LABEL: func.func @drop
// CHECK-SAME: %[[I:.*]]: tensor<?x2xi32>, %[[P:.*]]: tensor<?x2xf32>, %[[S:.*]]: tensor<?xi32>, %[[C:.*]]: index
func.func @drop(%i: tensor<?x2xi32>, %p: tensor<?x2xf32>, %s: tensor<?xi32>, %c: index) {
  // CHECK: moe.drop %[[I]] capacity(%[[C]]) {experts = 4 : i64, order = "token"} : tensor<?x2xi32>
  %0 = moe.drop %i capacity(%c) {experts = 4, order = "token"} : tensor<?x2xi32>
  // CHECK: moe.drop %[[I]] segments(%[[S]] : tensor<?xi32>) capacity(%[[C]]) {experts = 4 : i64, order = "choice"} : tensor<?x2xi32>
  %1 = moe.drop %i segments(%s : tensor<?xi32>) capacity(%c) {experts = 4, order = "choice"} : tensor<?x2xi32>
  // CHECK: moe.drop %[[I]] priority(%[[P]] : tensor<?x2xf32>) capacity(%[[C]]) {experts = 4 : i64, order = "priority"}
  %2 = moe.drop %i priority(%p : tensor<?x2xf32>) capacity(%c) {experts = 4, order = "priority"} : tensor<?x2xi32>
  // CHECK: moe.drop %[[I]] priority(%[[P]] : tensor<?x2xf32>) segments(%[[S]] : tensor<?xi32>) capacity(%[[C]])
  %3 = moe.drop %i priority(%p : tensor<?x2xf32>) segments(%s : tensor<?xi32>) capacity(%c) {experts = 4, order = "priority"}
    : tensor<?x2xi32>
  return
}

// CHECK-LABEL: func.func @plan
func.func @plan(%i: tensor<?x2xi32>, %static: tensor<3x2xi32>, %any: tensor<?x?xi32>) {
  // CHECK: %{{.*}}, %{{.*}}, %{{.*}} = moe.plan %{{.*}} {experts = 4 : i64} : tensor<?x2xi32> -> tensor<5xi32>, tensor<?xi32>, tensor<?x2xi32>
  %o0, %c0, %s0 = moe.plan %i {experts = 4} : tensor<?x2xi32> -> tensor<5xi32>, tensor<?xi32>, tensor<?x2xi32>
  // CHECK: moe.plan %{{.*}} {experts = 1 : i64} : tensor<3x2xi32> -> tensor<2xi32>, tensor<6xi32>, tensor<3x2xi32>
  %o1, %c1, %s1 = moe.plan %static {experts = 1} : tensor<3x2xi32> -> tensor<2xi32>, tensor<6xi32>, tensor<3x2xi32>
  // CHECK: moe.plan %{{.*}} {experts = 9 : i64} : tensor<?x?xi32> -> tensor<10xi32>, tensor<?xi32>, tensor<?x?xi32>
  %o2, %c2, %s2 = moe.plan %any {experts = 9} : tensor<?x?xi32> -> tensor<10xi32>, tensor<?xi32>, tensor<?x?xi32>
  return
}

// CHECK-LABEL: func.func @gaussian
func.func @gaussian(%i32: tensor<?xi32>, %i64: tensor<7xi64>) {
  // CHECK: moe.gaussian rows(%{{.*}}) {seed = 42 : i64, stream = 0 : i64} : tensor<?xi32> -> tensor<?x8xf32>
  %0 = moe.gaussian rows(%i32) {seed = 42, stream = 0} : tensor<?xi32> -> tensor<?x8xf32>
  // CHECK: moe.gaussian rows(%{{.*}}) {seed = -1 : i64, stream = 3 : i64} : tensor<7xi64> -> tensor<7x5xf32>
  %1 = moe.gaussian rows(%i64) {seed = -1, stream = 3} : tensor<7xi64> -> tensor<7x5xf32>
  return
}

// CHECK-LABEL: func.func @dispatch
func.func @dispatch(%x: tensor<?x16xbf16>, %w: tensor<?xf32>, %wide: tensor<3x2x4x5xi8>, %c: tensor<?xi32>) {
  // CHECK: moe.dispatch %{{.*}}[%{{.*}}] {fanout = 2 : i64} : tensor<?x16xbf16>, tensor<?xi32> -> tensor<?x16xbf16>
  %0 = moe.dispatch %x[%c] {fanout = 2} : tensor<?x16xbf16>, tensor<?xi32> -> tensor<?x16xbf16>
  // CHECK: moe.dispatch %{{.*}}[%{{.*}}] {fanout = 1 : i64} : tensor<?xf32>, tensor<?xi32> -> tensor<?xf32>
  %1 = moe.dispatch %w[%c] {fanout = 1} : tensor<?xf32>, tensor<?xi32> -> tensor<?xf32>
  // CHECK: moe.dispatch %{{.*}}[%{{.*}}] {fanout = 8 : i64} : tensor<3x2x4x5xi8>, tensor<?xi32> -> tensor<?x2x4x5xi8>
  %2 = moe.dispatch %wide[%c] {fanout = 8} : tensor<3x2x4x5xi8>, tensor<?xi32> -> tensor<?x2x4x5xi8>
  return
}

// CHECK-LABEL: func.func @combine
func.func @combine(%ys: tensor<?x16xbf16>, %slots: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // CHECK: moe.combine %{{.*}}[%{{.*}}] : tensor<?x16xbf16>, tensor<?x2xi32> -> tensor<?x16xf32>
  %0 = moe.combine %ys[%slots] : tensor<?x16xbf16>, tensor<?x2xi32> -> tensor<?x16xf32>
  // CHECK: moe.combine %{{.*}}[%{{.*}}] weights(%{{.*}} : tensor<?x2xf32>) : tensor<?x16xbf16>, tensor<?x2xi32> -> tensor<?x16xf32>
  %1 = moe.combine %ys[%slots] weights(%w : tensor<?x2xf32>) : tensor<?x16xbf16>, tensor<?x2xi32> -> tensor<?x16xf32>
  return
}

// CHECK-LABEL: func.func @experts
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>, %[[W:.*]]: tensor<?xf32>, %[[G:.*]]: tensor<4xi32>, %[[U:.*]]: tensor<3x4x4xf32>
func.func @experts(%x: tensor<?x4xf32>, %w: tensor<?xf32>, %g: tensor<4xi32>, %u: tensor<3x4x4xf32>) {
  // CHECK: moe.experts rows(%[[X]] : tensor<?x4xf32>) groups(%[[G]] : tensor<4xi32>) -> tensor<?x4xf32> {
  // CHECK-NEXT: ^bb0(%[[ROWS:.*]]: tensor<?x4xf32>):
  // CHECK-NEXT: moe.yield %[[ROWS]] : tensor<?x4xf32>
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  // CHECK: %{{.*}}:2 = moe.experts rows(%[[X]], %[[W]] : tensor<?x4xf32>, tensor<?xf32>) groups(%[[G]] : tensor<4xi32>)
  // CHECK-SAME: params(%[[U]] : tensor<3x4x4xf32>) attributes {note = "two"} -> tensor<?xf32>, tensor<?x4xf32> {
  // CHECK-NEXT: ^bb0(%[[ROWS:.*]]: tensor<?x4xf32>, %[[ROWW:.*]]: tensor<?xf32>, %{{.*}}: tensor<4x4xf32>):
  // CHECK-NEXT: moe.yield %[[ROWW]], %[[ROWS]] : tensor<?xf32>, tensor<?x4xf32>
  %1:2 = moe.experts rows(%x, %w : tensor<?x4xf32>, tensor<?xf32>) groups(%g : tensor<4xi32>)
      params(%u : tensor<3x4x4xf32>) attributes {note = "two"} -> tensor<?xf32>, tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>, %s: tensor<?xf32>, %m: tensor<4x4xf32>):
    moe.yield %s, %r : tensor<?xf32>, tensor<?x4xf32>
  }
  return
}

// CHECK-LABEL: func.func @grouped_matmul
func.func @grouped_matmul(%x: tensor<?x6xbf16>, %w: tensor<3x20x6xbf16>, %g: tensor<4xi32>, %c: tensor<?xi32>, %r: tensor<?xf32>,
                          %b: tensor<3x20xbf16>, %init: tensor<?x20xf32>) -> tensor<?x20xf32> {
  // CHECK: moe.grouped_matmul rows(%{{.*}} : tensor<?x6xbf16>) weights(%{{.*}} : tensor<3x20x6xbf16>) groups(%{{.*}} : tensor<4xi32>)
  // CHECK-SAME: outs(%{{.*}} : tensor<?x20xf32>) {
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: f32):
  // CHECK-NEXT: moe.yield %[[ACC]] : f32
  // CHECK-NEXT: } -> tensor<?x20xf32>
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xbf16>) weights(%w : tensor<3x20x6xbf16>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  // CHECK: moe.grouped_matmul rows({{.*}}) weights(%{{.*}}, %{{.*}} : tensor<3x20x6xbf16>, tensor<3x20x6xbf16>) groups(%{{[a-z0-9]+}} : tensor<4xi32>)
  // CHECK-SAME: choices(%{{.*}} : tensor<?xi32>) row_scalars(%{{.*}} : tensor<?xf32>) column_scalars(%{{.*}} : tensor<3x20xbf16>)
  // CHECK-SAME: outs(%{{.*}} : tensor<?x20xf32>) attributes {fanout = 2 : i64} {
  // CHECK-NEXT: ^bb0(%{{.*}}: f32, %{{.*}}: f32, %{{.*}}: f32, %{{.*}}: bf16):
  %1 = moe.grouped_matmul rows(%x : tensor<?x6xbf16>) weights(%w, %w : tensor<3x20x6xbf16>, tensor<3x20x6xbf16>)
      groups(%g : tensor<4xi32>) choices(%c : tensor<?xi32>) row_scalars(%r : tensor<?xf32>) column_scalars(%b : tensor<3x20xbf16>)
      outs(%0 : tensor<?x20xf32>) attributes {fanout = 2 : i64} {
  ^bb0(%gate: f32, %up: f32, %row: f32, %bias: bf16):
    %p = arith.mulf %gate, %up : f32
    %q = arith.mulf %p, %row : f32
    %e = arith.extf %bias : bf16 to f32
    %s = arith.addf %q, %e : f32
    moe.yield %s : f32
  } -> tensor<?x20xf32>
  return %1 : tensor<?x20xf32>
}

// CHECK-LABEL: func.func @integers
func.func @integers(%x: tensor<?x7xi8>, %w: tensor<3x20x7xi8>, %quads: tensor<3x2x2x16x4xi8>, %g: tensor<4xi32>, %r: tensor<?xf32>,
                    %init: tensor<?x20xf32>) -> tensor<?x20xf32> {
  // CHECK: moe.grouped_matmul rows(%{{.*}} : tensor<?x7xi8>) weights(%{{.*}} : tensor<3x20x7xi8>) groups
  // CHECK-NEXT: ^bb0(%{{.*}}: i32):
  %0 = moe.grouped_matmul rows(%x : tensor<?x7xi8>) weights(%w : tensor<3x20x7xi8>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%sum: i32):
    %y = arith.sitofp %sum : i32 to f32
    moe.yield %y : f32
  } -> tensor<?x20xf32>
  // CHECK: moe.grouped_matmul rows({{.*}}) weights(%{{.*}} : tensor<3x2x2x16x4xi8>)
  // CHECK-NEXT: ^bb0(%{{.*}}: i32, %{{.*}}: f32):
  %1 = moe.grouped_matmul rows(%x : tensor<?x7xi8>) weights(%quads : tensor<3x2x2x16x4xi8>) groups(%g : tensor<4xi32>)
      row_scalars(%r : tensor<?xf32>) outs(%0 : tensor<?x20xf32>) {
  ^bb0(%sum: i32, %scale: f32):
    %y = arith.sitofp %sum : i32 to f32
    %z = arith.mulf %y, %scale : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return %1 : tensor<?x20xf32>
}

// CHECK-LABEL: func.func @codes
func.func @codes(%x: tensor<?x64xbf16>, %w: tensor<3x20x32xi8>, %s: tensor<3x20x2xbf16>, %e: tensor<3x20x2xi8>,
                 %packed: tensor<3x2x8x16x4xi8>, %packed_s: tensor<3x2x2x16xi8>, %g: tensor<4xi32>,
                 %init: tensor<?x20xf32>) -> tensor<?x20xf32> {
  // CHECK: moe.grouped_matmul rows({{.*}}) weights(%{{.*}} : tensor<3x20x32xi8>) scales(%{{.*}} : tensor<3x20x2xbf16>) groups
  // CHECK-SAME: attributes {format = "int4"}
  %0 = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%w : tensor<3x20x32xi8>) scales(%s : tensor<3x20x2xbf16>)
      groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  // CHECK: weights(%{{.*}}, %{{.*}} : tensor<3x20x32xi8>, tensor<3x20x32xi8>) scales(%{{.*}}, %{{.*}} : tensor<3x20x2xi8>, tensor<3x20x2xi8>)
  // CHECK-SAME: attributes {format = "mxfp4"}
  %1 = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%w, %w : tensor<3x20x32xi8>, tensor<3x20x32xi8>)
      scales(%e, %e : tensor<3x20x2xi8>, tensor<3x20x2xi8>) groups(%g : tensor<4xi32>) outs(%0 : tensor<?x20xf32>)
      attributes {format = "mxfp4"} {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    moe.yield %c : f32
  } -> tensor<?x20xf32>
  // CHECK: weights(%{{.*}} : tensor<3x2x8x16x4xi8>) scales(%{{.*}} : tensor<3x2x2x16xi8>)
  %2 = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%packed : tensor<3x2x8x16x4xi8>)
      scales(%packed_s : tensor<3x2x2x16xi8>) groups(%g : tensor<4xi32>) outs(%1 : tensor<?x20xf32>)
      attributes {format = "mxfp4"} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  return %2 : tensor<?x20xf32>
}

// CHECK-LABEL: func.func @packed_weights
func.func @packed_weights(%x: tensor<?x7xf32>, %panels: tensor<3x2x7x16xf32>, %pairs: tensor<3x2x4x16x2xbf16>, %g: tensor<4xi32>,
                          %init: tensor<?x20xf32>) -> tensor<?x20xf32> {
  // CHECK: moe.grouped_matmul rows({{.*}}) weights(%{{.*}} : tensor<3x2x7x16xf32>)
  %0 = moe.grouped_matmul rows(%x : tensor<?x7xf32>) weights(%panels : tensor<3x2x7x16xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  // CHECK: moe.grouped_matmul rows({{.*}}) weights(%{{.*}} : tensor<3x2x4x16x2xbf16>)
  %1 = moe.grouped_matmul rows(%x : tensor<?x7xf32>) weights(%pairs : tensor<3x2x4x16x2xbf16>) groups(%g : tensor<4xi32>)
      outs(%0 : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  return %1 : tensor<?x20xf32>
}

// Memrefs, as after bufferization: no result.
// CHECK-LABEL: func.func @on_memrefs
func.func @on_memrefs(%x: memref<?x6xf32, strided<[8, 1], offset: ?>>, %w: memref<1x20x6xf32>, %g: memref<2xi32>, %init: memref<?x20xf16>) {
  // CHECK: moe.grouped_matmul rows(%{{.*}} : memref<?x6xf32, strided<[8, 1], offset: ?>>) weights(%{{.*}} : memref<1x20x6xf32>)
  // CHECK-SAME: groups(%{{.*}} : memref<2xi32>) outs(%{{.*}} : memref<?x20xf16>) {
  moe.grouped_matmul rows(%x : memref<?x6xf32, strided<[8, 1], offset: ?>>) weights(%w : memref<1x20x6xf32>) groups(%g : memref<2xi32>)
      outs(%init : memref<?x20xf16>) {
  ^bb0(%acc: f32):
    %h = arith.truncf %acc : f32 to f16
    moe.yield %h : f16
  }
  // CHECK: return
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xbf16>, %past: index) {
  // CHECK: moe.attention %{{.*}}, %{{.*}}, %{{.*}} past(%{{.*}}) {scale = 1.250000e-01 : f32}
  // CHECK-SAME: : tensor<?x?x4x8xf32>, tensor<?x?x2x8xbf16>, tensor<?x?x2x8xbf16> -> tensor<?x?x4x8xf32>
  %0 = moe.attention %q, %k, %k past(%past) {scale = 0.125 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x8xbf16>, tensor<?x?x2x8xbf16> -> tensor<?x?x4x8xf32>
  // CHECK: moe.attention {{.*}} {scale = 1.250000e-01 : f32, window = 16 : i64}
  %1 = moe.attention %q, %k, %k past(%past) {scale = 0.125 : f32, window = 16}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x8xbf16>, tensor<?x?x2x8xbf16> -> tensor<?x?x4x8xf32>
  return
}

// A tile, before and after bufferization, that rounds its result.
// CHECK-LABEL: func.func @attention_tile
func.func @attention_tile(%q: tensor<1x?x2x8xf32>, %k: tensor<1x?x1x8xbf16>, %past: index, %out: tensor<1x?x2x8xbf16>,
                          %qm: memref<1x?x2x8xf32>, %km: memref<1x?x1x8xbf16>, %outm: memref<1x?x2x8xbf16>) {
  // CHECK: moe.attention {{.*}} outs(%{{.*}} : tensor<1x?x2x8xbf16>) {{.*}} -> tensor<1x?x2x8xbf16>
  %0 = moe.attention %q, %k, %k past(%past) outs(%out : tensor<1x?x2x8xbf16>) {scale = 0.125 : f32}
    : tensor<1x?x2x8xf32>, tensor<1x?x1x8xbf16>, tensor<1x?x1x8xbf16> -> tensor<1x?x2x8xbf16>
  // CHECK: moe.attention {{.*}} outs(%{{.*}} : memref<1x?x2x8xbf16>) {{.*}} memref<1x?x1x8xbf16>{{$}}
  moe.attention %qm, %km, %km past(%past) outs(%outm : memref<1x?x2x8xbf16>) {scale = 0.125 : f32}
    : memref<1x?x2x8xf32>, memref<1x?x1x8xbf16>, memref<1x?x1x8xbf16>
  return
}

// CHECK-LABEL: func.func private @attributes
// CHECK-SAME: a = #moe.groups<count = 8, keep = 4, score = max, masked = "zero">
// CHECK-SAME: b = #moe.prepared<@f, ["layers.0.up", "layers.0.gate"]> : tensor<8x96x128xf32>
// CHECK-SAME: c = #moe.prepared<@f, []> : tensor<4xbf16>
func.func private @attributes() attributes {
  a = #moe.groups<count = 8, keep = 4, score = max, masked = "zero">,
  b = #moe.prepared<@f, ["layers.0.up", "layers.0.gate"]> : tensor<8x96x128xf32>,
  c = #moe.prepared<@f, []> : tensor<4xbf16>}

// CHECK: ml_program.global private @param.7(#moe.prepared<@f, ["up"]> : tensor<2xf32>) : tensor<2xf32>
ml_program.global private @param.7(#moe.prepared<@f, ["up"]> : tensor<2xf32>) : tensor<2xf32>

// CHECK-LABEL: func.func @tile_map
// CHECK: moe.tile_map %{{.*}} rows(%{{.*}}) {block = 256 : i64} : tensor<9xi32> -> tensor<?x3xi32>, tensor<i32>
// CHECK: moe.workers
func.func @tile_map(%offsets: tensor<9xi32>, %rows: index) -> (tensor<?x3xi32>, tensor<i32>, index) {
  %tiles, %count = moe.tile_map %offsets rows(%rows) {block = 256} : tensor<9xi32> -> tensor<?x3xi32>, tensor<i32>
  %workers = moe.workers
  return %tiles, %count, %workers : tensor<?x3xi32>, tensor<i32>, index
}

// CHECK-LABEL: func.func @schedule
// CHECK: moe.schedule %{{.*}} : tensor<?x2xi32> outs(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x3xi32>, tensor<i32>) {block = 128 : i64} -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x3xi32>, tensor<i32>
func.func @schedule(%e: tensor<?x2xi32>, %o: tensor<9xi32>, %c: tensor<?xi32>, %s: tensor<?x2xi32>, %t: tensor<?x3xi32>, %n: tensor<i32>) -> tensor<i32> {
  %r:5 = moe.schedule %e : tensor<?x2xi32> outs(%o, %c, %s, %t, %n : tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x3xi32>, tensor<i32>) {block = 128}
      -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x3xi32>, tensor<i32>
  return %r#4 : tensor<i32>
}
