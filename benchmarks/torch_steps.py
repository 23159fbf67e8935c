"""The benchmarked steps in PyTorch: same networks, losses and optimisers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.steps import CAMERAS, CLASSES
from benchmarks.torch_nets import ReID, StarGenerator, StarJudge, generator, judge, resnet

_compiled = False


def compile_networks() -> None:
    """From now on networks go through ``torch.compile``."""
    global _compiled
    _compiled = True


def _made(net: nn.Module) -> nn.Module:
    net = net.to(memory_format=torch.channels_last)
    return torch.compile(net) if _compiled else net


def _images(batch: int, size: tuple[int, int]) -> torch.Tensor:
    images = torch.rand(batch, 3, *size).mul(2).sub(1)
    return images.contiguous(memory_format=torch.channels_last)


def _reid(bnneck: bool = False, **trunk: Any) -> nn.Module:
    channels = trunk["width"] * 8 * (4 if trunk["depth"] >= 50 else 1)
    return _made(ReID(resnet(**trunk), channels, CLASSES, bnneck))


def reid_step(
    size: tuple[int, int], batch: int, each: int = 0, **trunk: Any
) -> Callable[[], float]:
    """Forward, cross-entropy (with ``each``: smoothed, and triplets), backward, Nesterov SGD."""
    net = _reid(each > 0, **trunk).train()
    options = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    optimiser = torch.optim.SGD(net.parameters(), **options)
    images, labels = _images(batch, size), torch.arange(batch) // max(each, 1)

    def step() -> float:
        optimiser.zero_grad()
        features, logits = net(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1 if each else 0.0)
        if each:
            loss = loss + _batch_hard(features, labels)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def _batch_hard(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    squares = (features**2).sum(1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp(1e-12).sqrt()
    same = labels[:, None] == labels
    far = distances.masked_fill(~same, -torch.inf).amax(1)
    near = distances.masked_fill(same, torch.inf).amin(1)
    return F.relu(0.3 + far - near).mean()


def embedding_step(size: tuple[int, int], batch: int, **trunk: Any) -> Callable[[], float]:
    """Features of a batch at unit length."""
    net = _reid(**trunk).eval()
    images = _images(batch, size)

    def step() -> float:
        with torch.inference_mode():
            return float(F.normalize(net(images)[0])[0, 0])

    return step


def stargan_step(
    width: int,
    blocks: int,
    halvings: int,
    judge_width: int,
    judge_layers: int,
    batch: int,
    size: tuple[int, int],
) -> Callable[[], float]:
    """Five turns of the discriminator, with gradient penalty, and one of the generator; Adam."""
    g = _made(StarGenerator(CAMERAS, width, blocks, halvings))
    d = _made(StarJudge(CAMERAS, judge_width, judge_layers, size))
    makers = torch.optim.Adam(g.parameters(), 1e-4, (0.5, 0.999))
    judges = torch.optim.Adam(d.parameters(), 1e-4, (0.5, 0.999))
    images, domains = _images(batch, size), torch.arange(batch) % CAMERAS

    def one_hot(domains: torch.Tensor) -> torch.Tensor:
        return F.one_hot(domains, CAMERAS).float()

    def judge_turn(targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            fake = g(images, one_hot(targets))
        (real_scores, logits), (fake_scores, _) = d(images), d(fake)
        share = torch.rand(batch, 1, 1, 1)
        between = (share * images + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(d(between)[0].sum(), between, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        return (
            fake_scores.mean() - real_scores.mean() + F.cross_entropy(logits, domains)
        ) + 10 * penalty

    def step() -> float:
        targets = domains[torch.randperm(batch)]
        for _ in range(5):
            judges.zero_grad()
            judge_turn(targets).backward()
            judges.step()
        d.requires_grad_(False)
        makers.zero_grad()
        fake = g(images, one_hot(targets))
        scores, logits = d(fake)
        back = (g(fake, one_hot(domains)) - images).abs().mean()
        loss = -scores.mean() + F.cross_entropy(logits, targets) + 10 * back
        loss.backward()
        makers.step()
        d.requires_grad_(True)
        return float(loss.detach())

    return step


def cyclegan_step(
    width: int, blocks: int, halvings: int, layers: int, batch: int, size: tuple[int, int]
) -> Callable[[], float]:
    """One CycleGAN step on random images: generators, then discriminators, Adam."""
    g, f = (_made(generator(width, blocks, halvings)) for _ in "gf")
    d_a, d_b = (_made(judge(width, layers)) for _ in "ab")
    makers = torch.optim.Adam([*g.parameters(), *f.parameters()], 2e-4, (0.5, 0.999))
    judges = torch.optim.Adam([*d_a.parameters(), *d_b.parameters()], 2e-4, (0.5, 0.999))
    a, b = (_images(batch, size) for _ in "ab")

    def step() -> float:
        for p in [*d_a.parameters(), *d_b.parameters()]:
            p.requires_grad_(False)
        makers.zero_grad()
        fake_b, same_b = g(torch.cat([a, b])).chunk(2)
        fake_a, same_a = f(torch.cat([b, a])).chunk(2)
        cycle = F.l1_loss(f(fake_b), a) + F.l1_loss(g(fake_a), b)
        identity = F.l1_loss(same_a, a) + F.l1_loss(same_b, b)
        fooled = ((d_a(fake_a) - 1) ** 2).mean() + ((d_b(fake_b) - 1) ** 2).mean()
        (fooled + 10 * cycle + 5 * identity).backward()
        makers.step()
        for p in [*d_a.parameters(), *d_b.parameters()]:
            p.requires_grad_(True)
        judges.zero_grad()
        loss = torch.zeros(())
        for d, real, fake in ((d_a, a, fake_a), (d_b, b, fake_b)):
            true, false = d(torch.cat([real, fake.detach()])).chunk(2)
            loss = loss + 0.5 * (((true - 1) ** 2).mean() + (false**2).mean())
        loss.backward()
        judges.step()
        return float(loss.detach())

    return step
