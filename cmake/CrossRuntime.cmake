# The runtime once more, for 64-bit Arm: lib/moe/aarch64/ of the build folder, with which `moe-compile --cpu=aarch64` links
# executables. Optional: on x86-64 it is made where clang finds the C and C++ libraries for Arm (Debian:
# libc6-dev-arm64-cross, libstdc++-12-dev-arm64-cross) and MOE_AARCH64_LIBRARIES has the tokenizer's two (Debian's
# packages libpcre2-dev and libutf8proc-dev of architecture arm64, which scripts/setup unpacks into the build folder).

set(MOE_AARCH64_LIBRARIES ${PROJECT_BINARY_DIR}/aarch64-packages/usr/lib/aarch64-linux-gnu CACHE PATH
  "Folder with libpcre2-8.a and libutf8proc.a for aarch64")

# What executables for Arm are linked with, beside the runtime. Sets MOE_AARCH64 and MOE_AARCH64_FILES, or MOE_AARCH64_WHY.
function(find_moe_aarch64)
  set(MOE_AARCH64 OFF PARENT_SCOPE)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" OR NOT CMAKE_CXX_COMPILER_ID STREQUAL Clang)
    set(MOE_AARCH64_WHY "it is built by clang on x86-64 only" PARENT_SCOPE)
    return()
  elseif(MOE_SANITIZER)
    set(MOE_AARCH64_WHY "sanitizers are for this machine" PARENT_SCOPE)
    return()
  endif()
  set(files)
  foreach(file Scrt1.o crti.o crtbeginS.o crtendS.o crtn.o libc_nonshared.a libgcc.a libgcc_eh.a libstdc++.a libc.so.6
               libm.so.6 ld-linux-aarch64.so.1 libpcre2-8.a libutf8proc.a)
    set(path ${MOE_AARCH64_LIBRARIES}/${file})
    if(NOT EXISTS ${path})
      execute_process(COMMAND ${CMAKE_CXX_COMPILER} --target=aarch64-linux-gnu -print-file-name=${file}
        OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
    if(NOT IS_ABSOLUTE "${path}")
      set(MOE_AARCH64_WHY "there is no ${file} for aarch64 (see scripts/setup)" PARENT_SCOPE)
      return()
    endif()
    list(APPEND files ${path})
  endforeach()
  set(MOE_AARCH64 ON PARENT_SCOPE)
  set(MOE_AARCH64_FILES ${files} PARENT_SCOPE)
endfunction()

# add_moe_cross_archive(TARGET): the library TARGET of the runtime for Arm, into the installation. The same sources and
# options; the compiler is one for both. It includes the headers of packages without machine code from where they are for
# this machine.
function(add_moe_cross_archive name)
  set(cross ${name}-aarch64)
  get_target_property(folder ${name} SOURCE_DIR)
  get_target_property(sources ${name} SOURCES)
  list(TRANSFORM sources PREPEND ${folder}/)
  add_library(${cross} STATIC ${sources})
  foreach(property COMPILE_OPTIONS COMPILE_DEFINITIONS INCLUDE_DIRECTORIES CXX_STANDARD COMPILE_FEATURES)
    get_target_property(value ${name} ${property})
    if(value)
      set_target_properties(${cross} PROPERTIES ${property} "${value}")
    endif()
  endforeach()
  # x86-64 code has no fused operations unless they are asked for, and results should be the same.
  target_compile_options(${cross} PRIVATE --target=aarch64-linux-gnu -ffp-contract=off -g0)
  add_moe_archive(${cross} NAME aarch64/lib${name}.a)
endfunction()

find_moe_aarch64()
if(MOE_AARCH64)
  message(STATUS "Executables for aarch64: yes")
  foreach(path ${MOE_AARCH64_FILES})
    get_filename_component(file ${path} NAME)
    get_filename_component(path ${path} REALPATH)
    configure_file(${path} ${MOE_INSTALLATION}/aarch64/${file} COPYONLY)
  endforeach()
else()
  message(STATUS "Executables for aarch64: no, ${MOE_AARCH64_WHY}")
  file(REMOVE_RECURSE ${MOE_INSTALLATION}/aarch64)
endif()
