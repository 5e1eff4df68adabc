#!/usr/bin/env python3
"""Makes the tokenizer test data of this folder; see README.md.

Needs the PyPI package `tokenizers` (0.23.3 was used), whose answers are the expected values:

    python make.py --lexicon ../../../examples/lexicon-moe/tokenizer.json
"""
import argparse
import copy
import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Three splits one after the other, as DeepSeek's tokenizers have them.
SPLITS = [
    r"\p{N}{1,3}",
    r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]
# GPT-4o's, with cased letters and a case-insensitive group behind each word.
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TEXTS = [
    "",
    " ",
    "   ",
    "a",
    "Hello, world!",
    "The experts' tokens aren't routed; they've dropped 'em, I'll say, and it's 1,234.56 tokens we'd count.",
    "IT'S WE'LL THEY'RE I'M I'D I'VE DON'T",
    "it\u2019s 'tis 'S 'ſ 'K",
    "  two  spaces   three\ttab\t\ttabs \n newline\n\n\nthree\r\ncrlf\r\n\r\n end  ",
    "trailing newline\n",
    "\n\n  leading",
    "12345 67 890123 ½ Ⅷ ٣٤٥ 一二三",
    "naïve café (composed) nai\u0308ve cafe\u0301 (decomposed) A\u030a \u212b \u1e9b\u0323",
    "q\u0323\u0307 q\u0307\u0323 \u0344 \u0958 \u2126 \ufb01 \uac00 \u1100\u1161\u11a8",
    "Привет мир, как дела? Ελληνικά γλώσσα",
    "你好，世界。これはテストです。한국어 문장",
    "नमस्ते दुनिया ไทยภาษา العربية עברית",
    "🙂👍🏽👩‍👩‍👧 🇩🇪 \U0001d54f\U0001d4ea",
    "nbsp\u00a0thin\u2009ideo\u3000mongolian\u180eogham\u1680line\u2028para\u2029nel\u0085end",
    "zero\u200bwidth\u200djoiner\ufeffbom soft\u00adhyphen",
    "\x00\x01\x02\x7f\x1b[0m nul and controls \x1c\x1d\x1e\x1f",
    "if (x == 3) { return a[i]->b; } // C++ <<= >>= ... !!! ???\n\t#define X(y) \\\n\t\ty",
    "https://example.org/a?b=c&d=%20e#f user@example.org",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|> c<|endoftext|><|endoftext|>",
    "<|endoftext|",
    "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nHello<|im_end|>",
    "x <mask> y  <mask>  z<mask>\n <mask>",
    "cat concat cat_ 1cat cat cats \u00e9cat cat\u00e9 (cat) cat",
    "caf\u1ec7!caf\u1ec7 cafe\u0323\u0302 cafe\u0302\u0323 CAFE\u0301 caf\u1eb9\u0302",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thethethethethe ththth hehehe ererer ininin",
    "word" * 60,
    "\U0010ffff\ue000\ufffd\uffff",
]
BROKEN = [
    b"\xff",
    b"abc\xffdef\xfe\xfe",
    b"\xc3",
    b"\xc3(",
    b"\xe4\xbd",
    b"\xe4\xbdx\xe4\xbd\xa0",
    b"\xf0\x9f\x99",
    b"\xf0\x9f\x99\x82\xf0\x9f",
    b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
    b"\xed\xa0\x80\xed\xbf\xbf",
    b"\xf4\x90\x80\x80\xf5\x80\x80\x80",
    b"\x80\xbf\x80",
    b"good \xe2\x82 bad \xe2\x82\xac euro",
]
POOL = list(
    "   \n\r\t'''sStTmMdDlLvVrReEaAbBxyzZ019½٣,.;:!?<>|_-/\\()[]{}#\u00e9\u00c9\u0301\u0308\u0323\u212b\u1e9b\u00df"
    "\u017f\u0130\u00a0\u2003\u3000\u180e\u0085\u2028\u200d\u00adЖжΩω你好あ가각\u1100\u1161\u11a8क़\u093c\u0e01🙂🏽"
) + ["the", "ing", " th", "'re", "'LL", "<|endoftext|>", "<mask>", "cat", "cafe\u0323\u0302", "\r\n", "  "]


def random_texts(seed, count):
    draw = random.Random(seed)
    return ["".join(draw.choice(POOL) for _ in range(draw.randint(1, 24))) for _ in range(count)]


def train(corpus):
    """A tokenizer in the form of Qwen3's, of 700 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator(corpus, trainer)
    result = json.loads(tokenizer.to_str())
    size = len(result["model"]["vocab"])
    result["added_tokens"] = [
        added("<|endoftext|>", size, special=True),
        added("<|im_start|>", size + 1, special=True),
        added("<|im_end|>", size + 2, special=True),
        added("<think>", size + 3),
        added("</think>", size + 4),
    ]
    result["post_processor"] = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False
    }
    return result


def added(content, number, special=False, **flags):
    token = {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False}
    return {**token, "normalized": False, "special": special, **flags}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def byte_level(prefix, regex):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def variants(base):
    """name -> JSON merge patch (RFC 7396) of the tokenizer `base`."""
    vocabulary = base["model"]["vocab"]
    size = len(vocabulary)
    eot = base["added_tokens"][0]
    merges = [" ".join(m) if isinstance(m, list) else m for m in base["model"]["merges"]]
    sequence = lambda *parts: {"type": "Sequence", "pretokenizers": list(parts)}
    plain = byte_level(False, False)
    gpt2 = byte_level(False, True)
    return {
        "qwen": {},
        "gpt2": {"normalizer": None, "pre_tokenizer": gpt2, "model": {"merges": merges}},
        "prefix_space": {"normalizer": None, "pre_tokenizer": byte_level(True, True)},
        "prefix_space_in_sequence": {"pre_tokenizer": sequence(split(SPLITS[0]), byte_level(True, True))},
        "no_pattern": {"pre_tokenizer": plain},
        "splits": {"pre_tokenizer": sequence(*map(split, SPLITS), plain)},
        "cased": {"pre_tokenizer": sequence(split(CASED), plain)},
        "empty_matches": {"pre_tokenizer": sequence(split("e*|(?=t)|(?<=x)"), plain)},
        "ignore_case": {"pre_tokenizer": sequence(split(r"(?i)the|\d+|[^\D1]|\S+?"), plain)},
        "normalizer_sequence": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        # The longest tokens lose their merges: only as whole words can they still be found.
        "ignore_merges": {"model": {"ignore_merges": True, "merges": merges[: len(merges) // 2]}},
        "whole_words_without_ignore_merges": {"model": {"merges": merges[: len(merges) // 2]}},
        # Letters without a token are left out. (With holes in the ids the library would renumber added tokens.)
        "missing_bytes": {
            "added_tokens": None,
            "model": {
                "vocab": {token: None for token in vocabulary if set(token) & set("qzÃ")},
                "merges": [m for m in merges if not set(m) & set("qzÃ")],
            }
        },
        "stripping_tokens": {
            "added_tokens": [
                eot,
                added("<mask>", size + 1, lstrip=True, rstrip=True),
                added("cat", size + 2, single_word=True),
                # (With Latin-1 letters only, the library would decode it as if they stood for bytes.)
                added("caf\u1ec7", size + 3, normalized=True),
                added("<|im", size + 4),
                added("<|im_start|>", size + 5, special=True, lstrip=True),
                added("ing", size + 6, single_word=True, rstrip=True, normalized=True),
            ]
        },
    }


def merge_patch(target, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    target = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def cases(tokenizer, texts):
    result = []
    for item in texts:
        text = item.decode("utf-8", errors="replace") if isinstance(item, bytes) else item
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        case = {"hex": item.hex()} if isinstance(item, bytes) else {"text": item}
        case["ids"] = ids
        case["decoded"] = tokenizer.decode(ids, skip_special_tokens=False)
        skipped = tokenizer.decode(ids, skip_special_tokens=True)
        if skipped != case["decoded"]:
            case["decoded_without_special"] = skipped
        result.append(case)
    return result


def load(document):
    # The library wants what a patch took out to be there as null.
    full = {"truncation": None, "padding": None, "normalizer": None, "post_processor": None,
            "added_tokens": [], **document}
    return Tokenizer.from_str(json.dumps(full))


def write(path, value):
    lines = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    path.write_text(lines.replace('{"text":', '\n{"text":').replace('{"hex":', '\n{"hex":') + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lexicon", type=Path, required=True, help="tokenizer.json of the sample model")
    args = parser.parse_args()
    here = Path(__file__).parent

    lexicon = Tokenizer.from_file(str(args.lexicon))
    write(here / "lexicon.cases.json", cases(lexicon, TEXTS + BROKEN + random_texts(1, 100)))

    base = train(TEXTS * 2 + random_texts(2, 400))
    (here / "qwen.tokenizer.json").write_text(json.dumps(base, ensure_ascii=False, separators=(",", ":")) + "\n")
    result = []
    for seed, (name, patch) in enumerate(variants(base).items(), start=3):
        tokenizer = load(merge_patch(copy.deepcopy(base), patch))
        numbers = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}
        for token in patch.get("added_tokens") or []:
            token["id"] = numbers[token["content"]]  # the vocabulary may have it already
        texts = TEXTS + BROKEN[:6] + random_texts(seed, 30)
        result.append({"name": name, "patch": patch, "cases": cases(tokenizer, texts)})
    write(here / "qwen.cases.json", result)


if __name__ == "__main__":
    main()
