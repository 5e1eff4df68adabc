"""Formats of weights: what a cell of the tables is about."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Format:
    """`storage`: of the checkpoint, of the tokens and of the result. `bits`: of one weight with its share of the scales.
    `peak`: the instruction whose rate bounds it, as roofline.py names it. `tolerance`: largest error that counts as
    agreement, relative to the largest value of the reference (for quantised formats the quantisation is part of it)."""

    name: str
    storage: str
    bits: float
    peak: str
    tolerance: float


FORMATS = {
    f.name: f
    for f in (
        Format("f32", "f32", 32, "f32", 1e-4),
        Format("bf16", "bf16", 16, "bf16", 3e-2),
        Format("int8", "bf16", 8, "int8", 6e-2),
        Format("fp8", "bf16", 8.25, "bf16", 0.1),
        Format("int4", "bf16", 4.5, "bf16", 0.4),
        Format("mxfp4", "bf16", 4.25, "bf16", 0.4),
    )
}
