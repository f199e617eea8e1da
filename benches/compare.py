"""Times the published size in PyTorch, ONNX Runtime and this project, in turn, and prints the ratios.

    compare.py FOLDER PROGRAM [--rounds 9] [--threads 2] [--only TEXT] [--without-rivals]

FOLDER receives a checkpoint with the shapes of CIDAS/clipseg-rd64-refined (ViT-B/16, 352x352 pixels) and random
weights, and its export to ONNX. PROGRAM is the example `compare` of this folder. `compare.sh` calls this.
`--only` selects the works whose name contains TEXT, such as `1 prompts`. Works with `bf16` in their name run the
vision tower in bf16; only this project has them, and their ratio is to its own single precision.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy
import onnxruntime
import torch
import transformers
from safetensors.torch import load_file, save_file

SIDE = 352
TOKENS = 6
PAUSE = 0.3  # seconds between two works, so that no thread pool still spins


def make(folder):
    """A checkpoint, four prompts of equal length, a picture, and the reference's logits for them."""
    config = transformers.CLIPSegConfig(
        text_config={"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407},
        vision_config={"patch_size": 16, "image_size": 224},
        use_complex_transposed_convolution=True,
    )
    torch.manual_seed(0)
    model = transformers.CLIPSegForImageSegmentation(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embedding" not in name:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    model.save_pretrained(folder, safe_serialization=True)
    ids = torch.randint(1000, 40000, (4, TOKENS))
    ids[:, 0], ids[:, -1] = 49406, 49407
    pixels = torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        logits = model(input_ids=ids, pixel_values=pixels.repeat(4, 1, 1, 1), attention_mask=torch.ones_like(ids)).logits
    save_file(
        {"in.pixel_values": pixels, "in.input_ids": ids.int(), "out.logits": logits.contiguous()},
        str(folder / "expected.safetensors"),
    )


class Graph(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values, input_ids, attention_mask):
        return self.model(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask).logits


def export(model, inputs, path):
    if not path.exists():
        aside = path.with_suffix(".part")
        names = ["pixel_values", "input_ids", "attention_mask"]
        torch.onnx.export(
            Graph(model), inputs, str(aside), dynamo=False, opset_version=17, input_names=names, output_names=["logits"]
        )
        aside.rename(path)


def torch_works(model, given):
    """The works in PyTorch: {name: function}."""
    ids, pixels = given["in.input_ids"].long(), given["in.pixel_values"]

    def forward(count):
        mask = torch.ones_like(ids[:count])
        with torch.inference_mode():
            return model(
                input_ids=ids[:count], pixel_values=pixels.repeat(count, 1, 1, 1), attention_mask=mask
            ).logits

    for parameter in model.clip.parameters():
        parameter.requires_grad_(False)
    labels = (given["out.logits"] > 0).float()
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=1e-3)
    four = pixels.repeat(4, 1, 1, 1)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        hidden = model.clip.vision_model(four, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
        activations = [hidden[layer + 1] for layer in model.config.extract_layers]
        conditional = model.get_conditional_embeddings(batch_size=4, input_ids=ids, attention_mask=mask)

    def step(logits):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(logits(), labels).backward()
        optimizer.step()

    return {
        "1 prompts": lambda: forward(1),
        "4 prompts": lambda: forward(4),
        "decoder step": lambda: step(lambda: model.decoder(activations, conditional).logits.reshape(labels.shape)),
        "training step": lambda: step(
            lambda: model(input_ids=ids, pixel_values=four, attention_mask=mask).logits.reshape(labels.shape)
        ),
    }


def onnx_works(folder, model, given, threads):
    ids = given["in.input_ids"].long()
    works = {}
    for count in (1, 4):
        pixels = given["in.pixel_values"].repeat(count, 1, 1, 1)
        mask = torch.ones_like(ids[:count])
        path = folder / f"prompts-{count}.onnx"
        export(model, (pixels, ids[:count], mask), path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {"pixel_values": pixels.numpy(), "input_ids": ids[:count].numpy(), "attention_mask": mask.numpy()}
        feed = {one.name: feed[one.name] for one in session.get_inputs()}
        logits = session.run(None, feed)[0].reshape(count, SIDE, SIDE)
        worst = numpy.abs(logits - given["out.logits"][:count].numpy()).max()
        print(f"ONNX Runtime, {count} prompts: logits within {worst:.1e} of PyTorch's")
        works[f"{count} prompts"] = lambda session=session, feed=feed: session.run(None, feed)
    return works


class Ours:
    """The program of this project, which is told what to do and tells how long it took."""

    def __init__(self, program, folder, threads, environment=None):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), **(environment or {})}
        self.process = subprocess.Popen(
            [program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.worst = float(self.process.stdout.readline())
        self.bf16 = self.process.stdout.readline().strip()
        self.has_bf16 = not self.bf16.startswith("the vision tower")

    def time(self, work):
        print(work, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def timed(work):
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("program", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--without-rivals", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = arguments.folder
    if not (folder / "expected.safetensors").exists():
        make(folder)
    given = load_file(folder / "expected.safetensors")
    onnx, eager = {}, {}
    if not arguments.without_rivals:
        model = transformers.CLIPSegForImageSegmentation.from_pretrained(folder).eval()
        onnx = onnx_works(folder, model, given, arguments.threads)
        eager = torch_works(model, given)
    ours = Ours(arguments.program, folder, arguments.threads)
    print(f"clipseg, 4 prompts: logits within {ours.worst:.1e} of PyTorch's, whose deviation is {given['out.logits'].std():.2g}")
    if ours.has_bf16:
        worst, iou = map(float, ours.bf16.split())
        print(f"clipseg, 4 prompts, bf16: logits within {worst:.1e}; IoU with single precision at least {iou:.4f}")
    else:
        print(f"clipseg: {ours.bf16}")

    prompts = [f"{count} prompts" for count in (1, 4, 16)]
    works = [work for one in prompts for work in (one, f"{one}, bf16")] + ["decoder step", "training step"]
    runners = {}
    for work in works:
        if arguments.only not in work or ("bf16" in work and not ours.has_bf16):
            continue
        if work in eager:
            runners[work, "PyTorch"] = lambda work=work: timed(eager[work])
        if work in onnx:
            runners[work, "ONNX Runtime"] = lambda work=work: timed(onnx[work])
        runners[work, "clipseg"] = lambda work=work: ours.time(work)
    if not runners:
        parser.error(f"--only {arguments.only}: no work has this in its name; the works are {'; '.join(works)}")
    times = {key: [] for key in runners}
    for round_ in range(arguments.rounds + 1):
        for key, run in runners.items():
            if onnx or eager:
                time.sleep(PAUSE)
            spent = run()
            if round_ > 0:  # the first round warms up
                times[key].append(spent)

    def ratio(one, other):
        """The median of the rounds' ratios, and their quartiles."""
        ratios = [a / b for a, b in zip(times[one], times[other])]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"

    versions = f"PyTorch {torch.__version__}, transformers {transformers.__version__}, ONNX Runtime {onnxruntime.__version__}"
    print(f"\n{versions}; {arguments.threads} threads; medians of {arguments.rounds} in turn, in ms\n")
    print("| work | PyTorch | ONNX Runtime | clipseg | of PyTorch | of ONNX Runtime |")
    print("|---|--:|--:|--:|--:|--:|")
    for work in dict.fromkeys(work for work, _ in runners):
        cells = [work.replace("1 prompts", "1 prompt")]
        for who in ("PyTorch", "ONNX Runtime", "clipseg"):
            cells.append(f"{statistics.median(times[work, who]):.0f}" if (work, who) in times else "–")
        for who in ("PyTorch", "ONNX Runtime"):
            cells.append(ratio((work, "clipseg"), (work, who)) if (work, who) in times else "–")
        print("| " + " | ".join(cells) + " |")
    print()
    pairs = [("16 prompts", "1 prompts"), *((f"{one}, bf16", one) for one in prompts)]
    for one, other in pairs:
        if (one, "clipseg") in times and (other, "clipseg") in times:
            print(f"{one} of {other}: {ratio((one, 'clipseg'), (other, 'clipseg'))}")
    (folder / "times.json").write_text(json.dumps({f"{who}, {work}": t for (work, who), t in times.items()}, indent=1))


if __name__ == "__main__":
    main()
