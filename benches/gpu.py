"""The side of PyTorch in `gpu.sh`: measures the works of `gpu.rs`, eager or compiled.

    gpu.py eager|compiled [--seconds 2] [--small]

Prints the lines that `gpu.rs` describes. Weights are random and have the same shapes as there. Precisions: `f32`
(products in full single precision), `tf32` (products of single precision in tf32), `f16` (weights and activations
in half precision; in training, automatic mixed precision with float16 and a gradient scaler). Without a GPU it
runs on the CPU, in single precision only.
"""

import argparse
import contextlib
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import torch
import transformers

PROMPTS, TOKENS, START, END = 4, 6, 49406, 49407
LEAST, MOST = 3, 200


def clipseg(small, device):
    refined = {} if small else {"use_complex_transposed_convolution": True}
    sizes = (
        {
            "text_config": {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4},
            "vision_config": {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
                              "patch_size": 16, "image_size": 64},
            "projection_dim": 128,
            "extract_layers": [0, 1, 3],
        }
        if small
        else {"text_config": {}, "vision_config": {"patch_size": 16, "image_size": 224}}
    )
    sizes["text_config"].update(bos_token_id=START, eos_token_id=END, pad_token_id=END)
    torch.manual_seed(0)
    model = transformers.CLIPSegForImageSegmentation(transformers.CLIPSegConfig(**sizes, **refined))
    return model.to(device).eval()


def small_clip(device):
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": 1024, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
            "num_attention_heads": 4, "max_position_embeddings": 32, "bos_token_id": 1022, "eos_token_id": 1023,
            "pad_token_id": 1023,
        },
        vision_config={
            "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 3,
            "image_size": 128, "patch_size": 8,
        },
        projection_dim=128,
    )
    torch.manual_seed(0)
    return transformers.CLIPModel(config).to(device).train()


class Features(torch.nn.Module):
    """The hidden states that the decoder reads, each picture encoded once."""

    def __init__(self, model):
        super().__init__()
        self.vision, self.layers = model.clip.vision_model, model.config.extract_layers
        # No layer after the last one that is read, as in this project.
        self.vision.encoder.layers = self.vision.encoder.layers[: max(self.layers) + 1]

    def forward(self, pixels):
        hidden = self.vision(pixels, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
        return [hidden[layer + 1] for layer in self.layers]


class Bench:
    def __init__(self, arguments):
        self.compiled = arguments.mode == "compiled"
        self.small, self.seconds = arguments.small, arguments.seconds
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.side = 64 if self.small else 352
        self.who = "PyTorch, " + arguments.mode

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def measure(self, work, precision, pictures, prompts, run):
        def timed():
            start = time.perf_counter()
            value = run().item()
            self.wait()
            if value != value or abs(value) == float("inf"):
                raise ValueError(f"{work}: the result is {value}")
            return time.perf_counter() - start

        first, began, times = timed(), time.perf_counter(), []
        while len(times) < LEAST or (len(times) < MOST and time.perf_counter() - began < self.seconds):
            times.append(timed())
        row = [self.who, work, precision, pictures, prompts, f"{first:.2f}", f"{1e3 * statistics.median(times):.2f}", len(times)]
        print(*row, sep="\t", flush=True)

    def compile(self, function):
        torch._dynamo.reset()
        return torch.compile(function) if self.compiled else function

    def texts(self, prompts):
        ids = 1000 + 7 * torch.arange(prompts * TOKENS, device=self.device).reshape(prompts, TOKENS)
        ids[:, 0], ids[:, -1] = START, END
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def pixels(self, pictures, side=None):
        side = side or self.side
        return torch.rand(pictures, 3, side, side, device=self.device)

    def conditional(self, model, texts):
        return model.get_conditional_embeddings(batch_size=len(texts["input_ids"]), **texts)

    def inference(self, precision):
        model = clipseg(self.small, self.device)
        if precision == "f16":
            model = model.half()
        dtype = next(model.parameters()).dtype
        features, texts = Features(model), self.texts(PROMPTS)

        def segment(pixels):
            count = len(pixels)
            embedding = self.conditional(model, texts).repeat(count, 1)
            hidden = [states.repeat_interleave(PROMPTS, dim=0) for states in features(pixels)]
            return model.decoder(hidden, embedding).logits.amax()

        for pictures in (1, 2) if self.small else (1, 8, 32):
            pixels = self.pixels(pictures).to(dtype)
            with torch.inference_mode():
                encode = self.compile(lambda pixels: torch.stack([states.amax() for states in features(pixels)]).amax())
                self.measure("encode pictures", precision, pictures, 0, lambda: encode(pixels))
                both = self.compile(segment)
                work = "encode pictures and segment by prompts"
                self.measure(work, precision, pictures, pictures * PROMPTS, lambda: both(pixels))

    def step(self, module, precision, loss):
        """A step of AdamW on a loss, in mixed precision with `f16`."""
        optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3)
        half = precision == "f16"
        scaler = torch.amp.GradScaler(self.device, enabled=half)

        def run():
            optimizer.zero_grad()
            with torch.autocast(self.device, torch.float16) if half else contextlib.nullcontext():
                value = loss()
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            return value.detach()

        return run

    def decoder_steps(self, precision):
        for from_pixels in (False, True):
            if from_pixels:
                work, batches = "training step from pixels", [(1, 2), (2, 2)] if self.small else [(1, 4), (32, 32)]
            else:
                work, batches = "training step from hidden states", [(2, 2)] if self.small else [(4, 4), (32, 32)]
            for pictures, prompts in batches:
                model = clipseg(self.small, self.device)
                for parameter in model.clip.parameters():
                    parameter.requires_grad_(False)
                model.decoder.train()
                features, texts, pixels = Features(model), self.texts(prompts), self.pixels(pictures)
                labels = (torch.rand(prompts, self.side, self.side, device=self.device) > 0.5).float()
                with torch.no_grad():
                    given = None if from_pixels else features(pixels)

                def forward(pixels):
                    with torch.no_grad():
                        embedding = self.conditional(model, texts)
                        hidden = given or [h.repeat_interleave(prompts // pictures, dim=0) for h in features(pixels)]
                    logits = model.decoder(hidden, embedding).logits.reshape(labels.shape)
                    return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)

                forward = self.compile(forward)
                run = self.step(model.decoder, precision, lambda: forward(pixels))
                self.measure(work, precision, pictures, prompts, run)

    def pretraining(self, precision):
        count = 4 if self.small else 256
        model, pixels = small_clip(self.device), self.pixels(count, side=128)
        ids = (7 * torch.arange(count * 32, device=self.device) % 1023).reshape(count, 32)
        ids[:, -1] = 1023
        mask = torch.ones_like(ids)

        def loss():
            return model(input_ids=ids, attention_mask=mask, pixel_values=pixels, return_loss=True).loss

        self.measure("pre-training step", precision, count, count, self.step(model, precision, self.compile(loss)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["eager", "compiled"])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--small", action="store_true")
    bench = Bench(parser.parse_args())
    failed = []
    for precision in ("f32", "tf32", "f16") if bench.device == "cuda" else ("f32",):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        for work in (bench.inference, bench.decoder_steps, bench.pretraining):
            try:
                work(precision)
            except Exception as error:  # the other works still run
                failed.append(f"{work.__name__} in {precision}: {str(error).splitlines()[0] if str(error) else error!r}")
    if failed:
        sys.exit("; ".join(failed))


if __name__ == "__main__":
    main()
