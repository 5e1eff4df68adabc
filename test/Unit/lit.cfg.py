# GoogleTest programs: every program of the build folder whose name ends in "Tests". Found from the main suite, so one
# lit run counts them too.
import os

import lit.formats

config.name = "moe-mlir-unit"
config.suffixes = []
config.excludes = ["CMakeFiles"]
config.test_exec_root = config.test_source_root = config.moe_unit_dir
config.test_format = lit.formats.GoogleTest(".", "Tests")
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "MOE_THREADS", "HOME", "TMPDIR"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
