# lib/moe/ of the build folder: what moe-compile links into executables. It finds the folder beside its own, so the pair
# bin/ and lib/ can be moved to another machine that has no compiler.

set(MOE_INSTALLATION ${PROJECT_BINARY_DIR}/lib/moe)
find_program(MOE_OBJCOPY llvm-objcopy HINTS ${LLVM_TOOLS_BINARY_DIR} NO_DEFAULT_PATH REQUIRED)
add_custom_target(moe-installation ALL)

# Start files and archives of the C and C++ implementation, where the compiler says they are.
file(MAKE_DIRECTORY ${MOE_INSTALLATION})
foreach(file Scrt1.o crti.o crtbeginS.o crtendS.o crtn.o libc_nonshared.a libgcc.a libgcc_eh.a libstdc++.a libpcre2-8.a
             libutf8proc.a)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=${file}
    OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT IS_ABSOLUTE "${path}")
    message(FATAL_ERROR "${file} not found: executables are linked with it (Debian: libstdc++-12-dev, libpcre2-dev, "
                        "libutf8proc-dev)")
  endif()
  get_filename_component(path "${path}" REALPATH)
  configure_file(${path} ${MOE_INSTALLATION}/${file} COPYONLY)
endforeach()

# add_moe_archive(TARGET [NAME file]): a library of the runtime, without debug information (reading it would double the link
# time). NAME: the file in lib/moe/, default lib<TARGET>.a.
function(add_moe_archive name)
  cmake_parse_arguments(ARG "" "NAME" "" ${ARGN})
  if(NOT TARGET ${name})
    return()
  endif()
  set(output ${MOE_INSTALLATION}/lib${name}.a)
  if(ARG_NAME)
    set(output ${MOE_INSTALLATION}/${ARG_NAME})
  endif()
  add_custom_command(OUTPUT ${output}
    COMMAND ${MOE_OBJCOPY} --strip-debug $<TARGET_FILE:${name}> ${output}
    DEPENDS ${name} $<TARGET_FILE:${name}>
    VERBATIM)
  add_custom_target(${name}-archive DEPENDS ${output})
  add_dependencies(moe-installation ${name}-archive)
endfunction()
