# MOE_SANITIZER: a list of sanitizers for everything that is built here, e.g. -DMOE_SANITIZER="address;undefined" or "thread".
# MLIR and LLVM themselves stay as Debian built them: only our half is instrumented.
set(MOE_SANITIZER "" CACHE STRING "Sanitizers to build with: address, undefined, thread (a list)")
if(MOE_SANITIZER)
  string(REPLACE ";" "," moe_sanitizers "${MOE_SANITIZER}")
  # vptr needs type information that MLIR's classes do not all export.
  set(moe_sanitize_flags -fsanitize=${moe_sanitizers} -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_compile_options(${moe_sanitize_flags})
  add_link_options(${moe_sanitize_flags})
  message(STATUS "Sanitizers: ${moe_sanitizers}")
endif()
