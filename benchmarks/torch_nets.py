"""The benchmarked training steps in PyTorch, eager: same networks, losses and optimisers."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

FORMAT = torch.channels_last


class Block(nn.Module):
    """CycleGAN's residual block."""

    def __init__(self, c: int):
        super().__init__()
        half = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]
        again = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]
        self.body = nn.Sequential(*half, nn.ReLU(True), *again)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the body's output."""
        return x + self.body(x)


def generator(width: int, blocks: int, halvings: int) -> nn.Module:
    """``jaxreid.nets.cyclegan.ResnetGenerator``."""

    def norm(c: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(c), nn.ReLU(True)]

    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), *norm(width)]
    widths = [width * 2**i for i in range(halvings + 1)]
    for c, d in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(c, d, 3, 2, 1), *norm(d)]
    layers += [Block(widths[-1]) for _ in range(blocks)]
    for d, c in zip(widths[::-1], widths[-2::-1], strict=False):
        layers += [nn.ConvTranspose2d(d, c, 3, 2, 1, 1), *norm(c)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def judge(width: int, layers: int) -> nn.Module:
    """``jaxreid.nets.cyclegan.PatchGAN``."""
    built: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    c = width
    for i in range(1, layers + 1):
        d = width * min(2**i, 8)
        stride = 2 if i < layers else 1
        built += [nn.Conv2d(c, d, 4, stride, 1), nn.InstanceNorm2d(d), nn.LeakyReLU(0.2)]
        c = d
    return nn.Sequential(*built, nn.Conv2d(c, 1, 4, 1, 1))


class Residual(nn.Module):
    """ResNet's basic block or bottleneck."""

    def __init__(self, c: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        plan = [(width, 3, stride), (width, 3, 1)]
        if bottleneck:
            plan = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
        layers: list[nn.Module] = []
        inner = c
        for out, size, step in plan:
            conv = nn.Conv2d(inner, out, size, step, size // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU(True)]
            inner = out
        self.body, self.out = nn.Sequential(*layers[:-1]), inner
        same = stride == 1 and c == inner
        fit = nn.Conv2d(c, inner, 1, stride, bias=False)
        self.side = nn.Identity() if same else nn.Sequential(fit, nn.BatchNorm2d(inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the body's output to the shortcut."""
        return F.relu(self.body(x) + self.side(x))


def resnet(depth: int, width: int, stem: str, last_stride: int, identities: int) -> nn.Module:
    """``jaxreid.nets.resnet.ResNet`` under the ``fc1024`` head's layers."""
    size = 7 if stem == "imagenet" else 3
    layers: list[nn.Module] = [nn.Conv2d(3, width, size, 2, size // 2, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(True)]
    layers += [nn.MaxPool2d(3, 2, 1)] if stem == "imagenet" else []
    c, counts = width, {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    for stage, (count, stride) in enumerate(zip(counts, (1, 2, 2, last_stride), strict=True)):
        for i in range(count):
            block = Residual(c, width * 2**stage, stride if i == 0 else 1, depth >= 50)
            layers.append(block)
            c = block.out
    head = [nn.Linear(c, 1024), nn.BatchNorm1d(1024), nn.ReLU(True), nn.Dropout(0.5)]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *pool, *head, nn.Linear(1024, identities))


def reid_step(
    depth: int, width: int, stem: str, last_stride: int, batch: int, size: tuple[int, int]
) -> Callable[[], float]:
    """One IDE step on random images: forward, cross-entropy, backward, Nesterov SGD."""
    net = resnet(depth, width, stem, last_stride, 751).to(memory_format=FORMAT).train()
    options = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    optimiser = torch.optim.SGD(net.parameters(), **options)
    images = torch.rand(batch, 3, *size).mul(2).sub(1).contiguous(memory_format=FORMAT)
    labels = torch.arange(batch) % 751

    def step() -> float:
        optimiser.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimiser.step()
        return float(loss)

    return step


def cyclegan_step(
    width: int, blocks: int, halvings: int, layers: int, batch: int, size: tuple[int, int]
) -> Callable[[], float]:
    """One CycleGAN step on random images: generators, then discriminators, Adam."""
    g, f = (generator(width, blocks, halvings).to(memory_format=FORMAT) for _ in "gf")
    d_a, d_b = (judge(width, layers).to(memory_format=FORMAT) for _ in "ab")
    makers = torch.optim.Adam([*g.parameters(), *f.parameters()], 2e-4, (0.5, 0.999))
    judges = torch.optim.Adam([*d_a.parameters(), *d_b.parameters()], 2e-4, (0.5, 0.999))
    a, b = torch.rand(2, batch, 3, *size).mul(2).sub(1)
    a, b = (x.contiguous(memory_format=FORMAT) for x in (a, b))

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
