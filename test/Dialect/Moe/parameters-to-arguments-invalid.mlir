// RUN: moe-opt %s --moe-parameters-to-arguments -split-input-file -verify-diagnostics

// expected-error @+1 {{expected functions that do not call themselves but 'f' is recursive}}
func.func @f() {
  call @f() : () -> ()
  return
}
