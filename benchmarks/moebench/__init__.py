"""Times one Mixture-of-Experts layer compiled by moe-compile beside other implementations of it (see ../README.md)."""
