"""Compare one training step on a CPU: fp32, bf16, bf16 with grouped convolutions in fp32; allocator kept or not.

python tests/benchmarks/step.py [--model tf_efficientnet_lite0] [--size 160] [--rounds 3]

Every measurement is a process of its own, and the variants alternate, since machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

VARIANTS = ("fp32", "bf16", "bf16 fixed", "bf16 fixed, allocator kept")


def measure(variant: str, name: str, size: int) -> float:
    """Return images/s of the variant in this process."""
    import timm
    import torch

    from pipeline.config.sections.train import Train
    from pipeline.machine import devices, processes
    from pipeline.models.layers import fp32_grouped_convolutions

    if "kept" in variant:
        devices.prepare(Train())
    torch.set_num_threads(processes.cores())
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=2).to(memory_format=torch.channels_last)
    if "fixed" in variant:
        fp32_grouped_convolutions(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images = torch.randn(32, 3, size, size).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(8):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in variant):
            loss = model(images).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - begin)
    return len(images) / statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.variant:
        print(measure(given.variant, given.model, given.size))
        return
    found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(given.rounds):
        for variant in VARIANTS:
            options = ["--variant", variant, "--model", given.model, "--size", str(given.size)]
            env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
            done = subprocess.run(
                [sys.executable, __file__, *options], env=env, capture_output=True, text=True, check=True
            )
            found[variant].append(float(done.stdout.split()[-1]))
    for variant, rates in found.items():
        ratios = [rate / plain for rate, plain in zip(rates, found["fp32"], strict=True)]
        print(f"{variant:28s} {statistics.median(rates):6.1f} images/s, {statistics.median(ratios):.2f} of fp32")


if __name__ == "__main__":
    main()
