"""The rival of metrics.rs: the same figures of the same pixels in PyTorch.

    python metrics.py

By sorting: the pixels of each mask sorted by probability, the truth summed up in that order, and each
threshold looked up. As a second rival, without sorting: each pixel's bin by `bucketize`, and `bincount`.
"""

import time

import numpy as np
import torch

MASKS, SIDE = 100, 352
THRESHOLDS = torch.from_numpy(np.linspace(0, 1, 51)[1:-1].astype(np.float32))


def pixels():
    pixel = torch.arange(SIDE * SIDE, dtype=torch.int64)
    x, y = (pixel % SIDE).float(), (pixel // SIDE).float()
    probabilities, truth = [], []
    for number in range(MASKS):
        turn = torch.tensor(float(number))
        x0, y0 = 176 + 40 * torch.cos(turn), 176 + 40 * torch.sin(turn)
        inside = (x - x0) ** 2 + (y - y0) ** 2 < float(60 + number % 40) ** 2
        word = (pixel + number * 40503) * 2654435761 % 2**32
        noise = (word >> 8).float() / 2**24 - 0.5
        probabilities.append(torch.sigmoid(torch.where(inside, 3.0, -3.0) + 8 * noise))
        truth.append(inside)
    return torch.stack(probabilities), torch.stack(truth).long()


def by_sorting(probabilities, truth):
    values, order = probabilities.sort(dim=1)
    summed = torch.nn.functional.pad(truth.gather(1, order).cumsum(1), (1, 0))
    below = torch.searchsorted(values, THRESHOLDS.expand(len(values), -1).contiguous(), right=True)
    missed = summed.gather(1, below)
    return counts(missed, below - missed, truth)


def by_bins(probabilities, truth):
    bins = 2 * torch.bucketize(probabilities, THRESHOLDS) + truth
    bins += 100 * torch.arange(len(bins))[:, None]
    histogram = torch.bincount(bins.flatten(), minlength=100 * len(bins)).view(len(bins), 50, 2)
    summed = histogram.cumsum(1)[:, :-1]
    return counts(summed[..., 1], summed[..., 0], truth)


def counts(missed, left_alone, truth):
    inside = truth.sum(1, keepdim=True)
    return inside - missed, truth.shape[1] - inside - left_alone, missed, left_alone


def figures(tp, fp, fn, tn):
    each = (tp / (tp + fp + fn).clamp(min=1)).double().mean(0)
    tp, fp, fn, tn = (count.sum(0).double() for count in (tp, fp, fn, tn))
    fg, bg = tp / (tp + fp + fn), tn / (tn + fp + fn)
    everything = tp[0] + fn[0]
    recall = torch.cat([torch.zeros(1).double(), (tp / (tp + fn)).flip(0), torch.ones(1).double()])
    precision = torch.cat([(tp / (tp + fp).clamp(min=1)).flip(0), (everything / (tp + fp + fn + tn)[:1])])
    average_precision = ((recall[1:] - recall[:-1]) * precision).sum()
    return each.max().item(), fg.max().item(), (0.5 * (fg + bg)).max().item(), average_precision.item()


if __name__ == "__main__":
    probabilities, truth = pixels()
    for way in (by_sorting, by_bins):
        print(way.__name__, "best mIoU %.6f, best IoU_FG %.6f, best IoU_BIN %.6f, average precision %.6f"
              % figures(*way(probabilities, truth)))
    for threads in (1, torch.get_num_threads()):
        torch.set_num_threads(threads)
        for way in (by_sorting, by_bins):
            times = []
            for _ in range(7):
                start = time.perf_counter()
                figures(*way(probabilities, truth))
                times.append(time.perf_counter() - start)
            print(f"{way.__name__}, threads {threads}: median {1e3 * np.median(times):.0f} ms of 7")
