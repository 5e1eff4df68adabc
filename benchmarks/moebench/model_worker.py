"""A whole model in transformers, in a process of its own: `python -m moebench.model_worker REQUESTS REPLIES`."""
import time

import torch
import transformers

from .worker import main

WINDOWS = 8  # windows of a text that share a call, as in our executable's `score`


class Model:
    """A causal language model in the checkpoint's dtype."""

    def load(self, folder, experts):
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self._model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", experts_implementation=experts)
        self._model.eval()
        return {"version": f"transformers {transformers.__version__}, torch {torch.__version__}, {experts}, "
                           f"{str(self._model.dtype).removeprefix('torch.')}"}

    def threads(self, count):
        torch.set_num_threads(count)
        return {}

    def generate(self, prompt, count):
        """Greedy; `seconds` holds the prompt too."""
        ids = self._tokenizer(prompt, return_tensors="pt").input_ids
        start = time.perf_counter()
        with torch.inference_mode():
            out = self._model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count,
                                       min_new_tokens=count, pad_token_id=0)
        return {"seconds": time.perf_counter() - start, "ids": out[0, ids.shape[1] :].tolist()}

    def score(self, path, window):
        """Mean negative log-likelihood of windows that do not overlap, each from its second token."""
        with open(path, encoding="utf-8", newline="") as file:
            ids = self._tokenizer(file.read(), return_tensors="pt").input_ids[0]
        start, nll, count = time.perf_counter(), 0.0, 0
        pieces = [piece for piece in ids.split(window) if len(piece) > 1]
        groups = [torch.stack(pieces[i : i + WINDOWS]) for i in range(0, len(pieces) - 1, WINDOWS)
                  if all(len(p) == window for p in pieces[i : i + WINDOWS])]
        done = sum(len(group) for group in groups)
        groups += [piece[None] for piece in pieces[done:]]
        with torch.inference_mode():
            for group in groups:
                logits = self._model(group, use_cache=False).logits[:, :-1].float()
                nll += torch.nn.functional.cross_entropy(logits.flatten(0, 1), group[:, 1:].flatten(), reduction="sum").item()
                count += group[:, 1:].numel()
        return {"seconds": time.perf_counter() - start, "nll": nll / count, "tokens": count}


if __name__ == "__main__":
    main(Model())
