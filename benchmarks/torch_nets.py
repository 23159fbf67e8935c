"""The benchmarked networks in PyTorch."""

import torch
from torch import nn
from torch.nn import functional as F


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


def resnet(depth: int, width: int, stem: str, last_stride: int) -> nn.Sequential:
    """``jaxreid.nets.resnet.ResNet`` under average pooling."""
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
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ReID(nn.Module):
    """The trunk under the ``fc1024`` head, or the ``bnneck`` head: pooled features and logits."""

    def __init__(self, trunk: nn.Module, channels: int, identities: int, bnneck: bool):
        super().__init__()
        hidden = [nn.Linear(channels, 1024), nn.BatchNorm1d(1024), nn.ReLU(True), nn.Dropout(0.5)]
        neck = [nn.BatchNorm1d(channels), nn.Linear(channels, identities, bias=False)]
        self.trunk = trunk
        self.head = nn.Sequential(*(neck if bnneck else [*hidden, nn.Linear(1024, identities)]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns features [B,C] and logits [B,K]."""
        features = self.trunk(x)
        return features, self.head(features)


class StarGenerator(nn.Module):
    """``jaxreid.nets.stargan.Generator``."""

    def __init__(self, domains: int, width: int, blocks: int, halvings: int):
        super().__init__()

        def norm(c: int) -> list[nn.Module]:
            return [nn.InstanceNorm2d(c, affine=True), nn.ReLU(True)]

        layers = [nn.Conv2d(3 + domains, width, 7, 1, 3, bias=False), *norm(width)]
        widths = [width * 2**i for i in range(halvings + 1)]
        for c, d in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(c, d, 4, 2, 1, bias=False), *norm(d)]
        layers += [StarBlock(widths[-1]) for _ in range(blocks)]
        for d, c in zip(widths[::-1], widths[-2::-1], strict=False):
            layers += [nn.ConvTranspose2d(d, c, 4, 2, 1, bias=False), *norm(c)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Translates images to the domains of one-hot rows."""
        planes = labels[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.body(torch.cat([x, planes], 1))


class StarBlock(nn.Module):
    """StarGAN's residual block."""

    def __init__(self, c: int):
        super().__init__()
        convs = [nn.Conv2d(c, c, 3, 1, 1, bias=False) for _ in range(2)]
        norms = [nn.InstanceNorm2d(c, affine=True) for _ in range(2)]
        self.body = nn.Sequential(convs[0], norms[0], nn.ReLU(True), convs[1], norms[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the body's output."""
        return x + self.body(x)


class StarJudge(nn.Module):
    """``jaxreid.nets.stargan.Discriminator``."""

    def __init__(self, domains: int, width: int, layers: int, size: tuple[int, int]):
        super().__init__()
        body: list[nn.Module] = []
        c = 3
        for layer in range(layers):
            body += [nn.Conv2d(c, width * 2**layer, 4, 2, 1), nn.LeakyReLU(0.01)]
            c = width * 2**layer
        self.body, self.score = nn.Sequential(*body), nn.Conv2d(c, 1, 3, 1, 1, bias=False)
        whole = (size[0] >> layers, size[1] >> layers)
        self.classes = nn.Conv2d(c, domains, whole, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns scores per patch and logits of the domains."""
        maps = self.body(x)
        return self.score(maps), self.classes(maps).flatten(1)
