#!/usr/bin/env python3
"""Makes qwen3_moe_window and mixtral_window: tiny random models with a sliding window (and biases in qwen3's attention).

Needs torch and transformers (made with transformers 5.23, float32). usage: make_window.py OUT
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

COMMON = dict(
    vocab_size=97, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    num_experts_per_tok=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
    attn_implementation="eager", experts_implementation="eager",
)


def make(name, model, folder):
    torch.manual_seed(7)
    model = model.float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
        input_ids = torch.randint(3, 97, (2, 23))
        logits = model(input_ids).logits
        prompt = torch.randint(3, 97, (1, 8))
        text, gap = prompt, 1e9
        for _ in range(24):
            best = model(text).logits[0, -1].topk(2)
            gap = min(gap, (best.values[0] - best.values[1]).item())
            text = torch.cat([text, best.indices[:1].reshape(1, 1)], 1)
    if gap < 1e-3:
        sys.exit(f"{name}: two next tokens are {gap} apart: another float32 implementation may choose the other one")
    model.save_pretrained(folder / name)
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    save_file(
        {"input_ids": input_ids, "logits": logits, "prompt_ids": prompt, "generated_ids": text[:, 8:].contiguous()},
        folder / name / "expected.safetensors",
    )
    print(f"{name}: smallest gap {gap:.4f}, largest logit {logits.abs().max():.2f}")


out = pathlib.Path(sys.argv[1])
qwen3 = Qwen3MoeConfig(
    **COMMON, intermediate_size=44, moe_intermediate_size=10, num_experts=6, head_dim=8, norm_topk_prob=True,
    attention_bias=True, use_sliding_window=True, sliding_window=5, max_window_layers=1,
)
mixtral = MixtralConfig(**COMMON, intermediate_size=12, num_local_experts=6, sliding_window=4)
make("qwen3_moe_window", Qwen3MoeForCausalLM(qwen3), out)
make("mixtral_window", MixtralForCausalLM(mixtral), out)
