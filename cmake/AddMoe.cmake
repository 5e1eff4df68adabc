# Helpers of the build. Compiler libraries share one precompiled header (a cold MLIR include costs 15 s, a warm one 0.5 s).

# LLVM's build turns on a warning about class template deduction, which std::lock_guard is all about.
set(MOE_WARNINGS -Wall -Wextra -Werror -Wno-unused-parameter -Wno-ctad-maybe-unsupported)

# add_moe_library(NAME sources... [DEPENDS targets...] [LINK targets...])
# A static library of the compiler: MLIR headers precompiled, links libMLIR. The global property MOE_LIBRARIES lists all
# of them, for the tools.
function(add_moe_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  llvm_update_compile_flags(${name})
  target_compile_options(${name} PRIVATE ${MOE_WARNINGS})
  add_dependencies(${name} moe-headers)
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
  target_link_libraries(${name} PUBLIC ${ARG_LINK} MLIR LLVM)
  target_precompile_headers(${name} REUSE_FROM MoePrecompiled)
  set_property(GLOBAL APPEND PROPERTY MOE_LIBRARIES ${name})
endfunction()

# add_moe_dialect(FILE PREFIX) in dialect/<X>/IR: declarations and definitions of ops, attributes, enums of FILE.td.
# Generated files lie at the same path in the build folder, so an include path names the folder of the source.
function(add_moe_dialect file dialect)
  set(LLVM_TARGET_DEFINITIONS ${file}.td)
  mlir_tablegen(${file}.h.inc -gen-op-decls)
  mlir_tablegen(${file}.cpp.inc -gen-op-defs)
  mlir_tablegen(${file}Dialect.h.inc -gen-dialect-decls -dialect=${dialect})
  mlir_tablegen(${file}Dialect.cpp.inc -gen-dialect-defs -dialect=${dialect})
  mlir_tablegen(${file}Enums.h.inc -gen-enum-decls)
  mlir_tablegen(${file}Enums.cpp.inc -gen-enum-defs)
  mlir_tablegen(${file}Attrs.h.inc -gen-attrdef-decls -attrdefs-dialect=${dialect})
  mlir_tablegen(${file}Attrs.cpp.inc -gen-attrdef-defs -attrdefs-dialect=${dialect})
  add_public_tablegen_target(${file}IncGen)
  add_dependencies(moe-headers ${file}IncGen)
endfunction()

# add_moe_passes(FILE NAME): pass declarations of FILE.td, registration function register<NAME>Passes().
function(add_moe_passes file name)
  set(LLVM_TARGET_DEFINITIONS ${file}.td)
  mlir_tablegen(${file}.h.inc -gen-pass-decls -name ${name})
  add_public_tablegen_target(Moe${name}PassIncGen)
  add_dependencies(moe-headers Moe${name}PassIncGen)
endfunction()

# Everything generated that any source may include; sources of all libraries wait for it.
add_custom_target(moe-headers)

# add_moe_tool(NAME sources...): a program in bin/, with everything of the compiler linked in.
function(add_moe_tool name)
  add_executable(${name} ${ARGN})
  llvm_update_compile_flags(${name})
  target_compile_options(${name} PRIVATE ${MOE_WARNINGS})
  target_link_libraries(${name} PRIVATE MoeDriver)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin
    BUILD_RPATH ${LLVM_LIBRARY_DIR})
endfunction()
