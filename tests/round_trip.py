"""Loads into transformers what save_pretrained, export and convert have written, and compares with the fixtures.

    python tests/round_trip.py FOLDER [FIXTURES]

FOLDER is what the test round_trip::save_for_transformers has filled. Needs torch, transformers 4.57 or 5, and
safetensors. Fails on a missing or an unexpected key, and on logits that differ by more than 1e-5 of the largest.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPProcessor, CLIPSegForImageSegmentation, CLIPSegProcessor

folder = Path(sys.argv[1])
fixtures = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "fixtures"
for name, saved in ((name, name + end) for name in ("clipseg-refined", "clipseg-plain") for end in ("", "-exported")):
    model, info = CLIPSegForImageSegmentation.from_pretrained(folder / saved, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], f"{saved}: {kind} {info[kind]}"
    processor = CLIPSegProcessor.from_pretrained(folder / saved)
    answers = load_file(fixtures / "models" / name / "expected.safetensors")
    prompts = json.loads((fixtures / "models" / name / "prompts.json").read_text())
    ids = processor.tokenizer(prompts, padding=True, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(ids, answers["in.input_ids"]), f"{saved}: the tokenizer gives other ids"
    sizes = [key.split(".")[1] for key in answers if key.startswith("in.") and key.endswith(".pixel_values")]
    assert sizes
    for size in sizes:
        with torch.inference_mode():
            logits = model.eval()(
                pixel_values=answers[f"in.{size}.pixel_values"],
                input_ids=answers["in.input_ids"],
                attention_mask=answers["in.attention_mask"],
            ).logits
        expected = answers[f"out.{size}.logits"]
        worst = ((logits - expected).abs().max() / expected.abs().max()).item()
        print(f"{saved} at {size}: {worst:.1e} of the largest logit")
        assert worst <= 1e-5

saved = folder / "clip-converted"
model, info = CLIPModel.from_pretrained(saved, output_loading_info=True)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not info[kind], f"{saved.name}: {kind} {info[kind]}"
processor = CLIPProcessor.from_pretrained(saved)
answers = load_file(fixtures / "models" / "clip" / "expected.safetensors")
prompts = json.loads((fixtures / "models" / "clip" / "prompts.json").read_text())
ids = processor.tokenizer(prompts, padding=True, truncation=True, return_tensors="pt").input_ids
assert torch.equal(ids, answers["in.input_ids"]), f"{saved.name}: the tokenizer gives other ids"
with torch.inference_mode():
    inputs = {name: answers[f"in.{name}"] for name in ("pixel_values", "input_ids", "attention_mask")}
    scores = model.eval()(**inputs).logits_per_image
expected = answers["out.logits_per_image"]
worst = ((scores - expected).abs().max() / expected.abs().max()).item()
print(f"{saved.name}: {worst:.1e} of the largest score")
assert worst <= 1e-5
