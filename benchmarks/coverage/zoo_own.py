"""Self-written networks for images, scenes and control."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from zoo import Entry, image, rows, smooth, tokens


def _double(inner: int, outer: int) -> nn.Sequential:
    first = (nn.Conv2d(inner, outer, 3, 1, 1), nn.BatchNorm2d(outer), nn.ReLU())
    return nn.Sequential(*first, nn.Conv2d(outer, outer, 3, 1, 1), nn.BatchNorm2d(outer), nn.ReLU())


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015), two levels, transposed convolutions up."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _double(3, 16), _double(16, 32), _double(32, 48)
        self.up1, self.up2 = nn.ConvTranspose2d(48, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.back1, self.back2, self.head = _double(64, 32), _double(32, 16), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.second(fn.max_pool2d(a, 2))
        x = self.up1(self.third(fn.max_pool2d(b, 2)))
        x = self.up2(self.back1(torch.cat((x, b), 1)))
        made: Tensor = self.head(self.back2(torch.cat((x, a), 1)))
        return made


class Upscaler(nn.Module):
    """ESPCN (Shi et al., 2016) beside a bicubic path."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 24, 5, 1, 2), nn.Tanh(), nn.Conv2d(24, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        plain = fn.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
        made: Tensor = plain + self.net(x)
        return made


class Stylist(nn.Module):
    """Fast style transfer (Johnson et al., 2016): reflect padding, instance norm, nearest upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 12, 5, padding=2, padding_mode="reflect"), nn.Conv2d(12, 24, 3, 2, 1)
        self.norms = nn.ModuleList(nn.InstanceNorm2d(size, affine=True) for size in (12, 24, 24))
        self.inner, self.last = nn.Conv2d(24, 24, 3, padding=1, padding_mode="reflect"), nn.Conv2d(24, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = fn.relu(self.norms[0](self.first(x)))
        x = fn.relu(self.norms[1](self.down(x)))
        x = x + fn.relu(self.norms[2](self.inner(x)))
        return torch.sigmoid(self.last(fn.interpolate(x, scale_factor=2)))


class Detector(nn.Module):
    """SSD's head (Liu et al., 2016) with decoded boxes: exponentials, concatenated levels, softmax."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.classes = classes
        self.first, self.second = _double(3, 16), _double(16, 24)
        self.boxes = nn.ModuleList(nn.Conv2d(size, 8, 3, 1, 1) for size in (16, 24))
        self.scores = nn.ModuleList(nn.Conv2d(size, 2 * classes, 3, 1, 1) for size in (16, 24))
        self.register_buffer("anchors", torch.rand(2 * (16 * 16 + 8 * 8), 4) * 0.5 + 0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        levels = [fn.avg_pool2d(self.first(x), 2)]
        levels.append(fn.max_pool2d(self.second(levels[0]), 2))
        pairs = list(zip(levels, self.boxes, self.scores, strict=True))
        boxes = torch.cat([box(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) for x, box, _ in pairs], 1)
        scores = torch.cat(
            [score(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.classes) for x, _, score in pairs], 1
        )
        centre = boxes[..., :2] * 0.1 * self.anchors[:, 2:] + self.anchors[:, :2]
        size = torch.exp(boxes[..., 2:].clamp(max=4) * 0.2) * self.anchors[:, 2:]
        return torch.cat((centre - size / 2, centre + size / 2), -1), torch.softmax(scores, -1)


class Warper(nn.Module):
    """A spatial transformer (Jaderberg et al., 2015): an affine grid and bilinear sampling."""

    def __init__(self) -> None:
        super().__init__()
        self.find = nn.Sequential(
            nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 6)
        )
        self.head = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 26 * 26, 10))

    def forward(self, x: Tensor) -> Tensor:
        turn = (self.find(x) * 0.1 + torch.tensor((1.0, 0, 0, 0, 1, 0))).view(-1, 2, 3)
        grid = fn.affine_grid(turn, list(x.shape), align_corners=False)
        made: Tensor = self.head(fn.grid_sample(x, grid, align_corners=False))
        return made


class Radiance(nn.Module):
    """NeRF's network (Mildenhall et al., 2020): positional encoding, a skip, density and colour."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("powers", 2.0 ** torch.arange(4) * math.pi)
        self.first, self.second = nn.Linear(27, 48), nn.Linear(75, 48)
        self.density, self.colour = nn.Linear(48, 1), nn.Linear(51, 3)

    def forward(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        angles = (points.unsqueeze(-1) * self.powers).flatten(-2)
        coded = torch.cat((points, angles.sin(), angles.cos()), -1)
        x = fn.relu(self.second(torch.cat((fn.relu(self.first(coded)), coded), -1)))
        colour = torch.sigmoid(self.colour(torch.cat((x, fn.normalize(directions, dim=-1)), -1)))
        return fn.softplus(self.density(x)), colour


class Siren(nn.Module):
    """SIREN (Sitzmann et al., 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList((nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 3)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.sin(5 * layer(x))
        made: Tensor = self.layers[-1](x)
        return made


class Splines(nn.Module):
    """A Kolmogorov-Arnold network (Liu et al., 2024): B-splines by recursion, as fast implementations have them."""

    def __init__(self, sizes: tuple[int, ...] = (4, 8, 3), grid: int = 5, order: int = 3) -> None:
        super().__init__()
        self.order = order
        step = 2.0 / grid
        self.register_buffer("grid", torch.arange(-order, grid + order + 1) * step - 1)
        self.base = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))
        self.spline = nn.ModuleList(nn.Linear(i * (grid + order), o, bias=False) for i, o in itertools.pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for base, spline in zip(self.base, self.spline, strict=True):
            wide, knots = x.unsqueeze(-1), self.grid
            bases = ((wide >= knots[:-1]) & (wide < knots[1:])).to(x.dtype)
            for k in range(1, self.order + 1):
                left = (wide - knots[: -(k + 1)]) / (knots[k:-1] - knots[: -(k + 1)]) * bases[..., :-1]
                right = (knots[k + 1 :] - wide) / (knots[k + 1 :] - knots[1:-k]) * bases[..., 1:]
                bases = left + right
            x = base(fn.silu(x)) + spline(bases.flatten(1))
        return x


class Experts(nn.Module):
    """A mixture of four experts, the best two of them by top-k gates."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(24, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 24)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x)
        best, places = scores.topk(2, -1)
        weights = torch.zeros_like(scores).scatter(-1, places, torch.softmax(best, -1))
        every = torch.stack([expert(x) for expert in self.experts], -1)
        return (every * weights.unsqueeze(-2)).sum(-1)


class Policy(nn.Module):
    """A controller: a dict of what sensors see in, actions and value out, one of them an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ELU(), nn.Conv2d(8, 16, 3, 2), nn.ELU(), nn.Flatten())
        self.core, self.act, self.value = nn.Linear(16 * 6 * 6 + 5, 32), nn.Linear(32, 4), nn.Linear(32, 1)

    def forward(self, observation: dict[str, Tensor]) -> dict[str, Tensor]:
        x = torch.cat((self.eye(observation["camera"]), observation["joints"]), 1)
        x = fn.elu(self.core(x))
        logits = self.act(x)
        return {"action": logits.argmax(-1), "logits": logits, "value": self.value(x)}


class Volume(nn.Module):
    """3-D convolutions with group norm over a scan."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv3d(1, 8, 3, 2, 1),
            nn.GroupNorm(4, 8),
            nn.LeakyReLU(),
            nn.MaxPool3d(2),
            nn.Conv3d(8, 16, 3, 1, 1),
            nn.ReLU(),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.net(x).mean((2, 3, 4)))
        return made


class Capsules(nn.Module):
    """Capsules with routing by agreement (Sabour et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 9), nn.Conv2d(16, 32, 9, 2)
        self.weights = nn.Parameter(torch.randn(5, 36 * 4, 8, 8) * 0.1)

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        square = (x**2).sum(-1, keepdim=True)
        return square / (1 + square) * x / (square + 1e-8).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(fn.relu(self.first(x)))
        x = self.squash(x.view(x.shape[0], 4, 8, -1).permute(0, 1, 3, 2).reshape(x.shape[0], -1, 8))
        votes = (x[:, None, :, None, :] @ self.weights[None]).squeeze(3)
        logits = torch.zeros(votes.shape[:3])
        for _ in range(2):
            parent = self.squash((torch.softmax(logits, 1).unsqueeze(-1) * votes).sum(2))
            logits = logits + (votes * parent.unsqueeze(2)).sum(-1)
        return parent.norm(dim=-1)


class Generator(nn.Module):
    """DCGAN's generator (Radford et al., 2015): transposed convolutions with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inner, outer, stride, padding in ((16, 48, 1, 0), (48, 24, 2, 1), (24, 12, 2, 1)):
            parts += [
                nn.ConvTranspose2d(inner, outer, 4, stride, padding, bias=False),
                nn.BatchNorm2d(outer),
                nn.ReLU(),
            ]
        self.net = nn.Sequential(*parts, nn.ConvTranspose2d(12, 3, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = self.net(z[:, :, None, None])
        return made


class Siamese(nn.Module):
    """One encoder for two images: cosine similarity and distance."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _double(3, 12), nn.MaxPool2d(2), _double(12, 24), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.net(left), self.net(right)
        return fn.cosine_similarity(a, b), fn.pairwise_distance(a, b)


class Diffuser(nn.Module):
    """A step of a denoising diffusion model: time by sines, conditions by scale and shift, attention."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 3, 3, 1, 1)
        self.time = nn.Sequential(nn.Linear(width, 32), nn.SiLU(), nn.Linear(32, 2 * width))
        self.norm, self.conv = nn.GroupNorm(4, width), nn.Conv2d(width, width, 3, 1, 1)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.width = width

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        powers = torch.exp(-math.log(1e4) * torch.arange(self.width // 2) / (self.width // 2))
        angles = step[:, None] * powers
        scale, shift = self.time(torch.cat((angles.sin(), angles.cos()), 1))[:, :, None, None].chunk(2, 1)
        h = self.first(x)
        h = h + self.conv(fn.silu(self.norm(h) * (1 + scale) + shift))
        flat = h.flatten(2).transpose(1, 2)
        h = h + self.attention(flat, flat, flat, need_weights=False)[0].transpose(1, 2).view_as(h)
        made: Tensor = self.last(fn.silu(h))
        return made


class Quantizer(nn.Module):
    """VQ-VAE (van den Oord et al., 2017): the nearest of 32 codes, and what is rebuilt from it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 4, 2, 1))
        self.codes = nn.Embedding(32, 8)
        self.outer = nn.Sequential(nn.ConvTranspose2d(8, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.inner(x).permute(0, 2, 3, 1)
        distance = torch.cdist(found.reshape(-1, 8), self.codes.weight)
        places = distance.argmin(1).view(found.shape[:3])
        return self.outer(self.codes(places).permute(0, 3, 1, 2)), places


class Embedder(nn.Module):
    """A sentence encoder of torch's own transformer layers, masked mean and unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(500, 32), nn.Parameter(torch.randn(32, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.layers(self.words(ids) + self.places, src_key_padding_mask=mask == 0)
        weights = mask.unsqueeze(-1).float()
        return fn.normalize((x * weights).sum(1) / weights.sum(1).clamp(min=1e-9), dim=-1)


def step_and_image(generator: torch.Generator) -> tuple[Tensor, ...]:
    return (*image(16)(generator), torch.randint(0, 1000, (1,), generator=generator).float())


def observation(generator: torch.Generator) -> tuple[dict[str, Tensor], ...]:
    return ({"camera": image(32)(generator)[0], "joints": torch.randn(1, 5, generator=generator)},)


def two_images(generator: torch.Generator) -> tuple[Tensor, ...]:
    return (*image(32)(generator), *image(32)(generator))


TABLE = {
    "unet": Entry(build=UNet, draw=image()),
    "espcn_bicubic": Entry(build=Upscaler, draw=image(32)),
    "style_transfer": Entry(build=Stylist, draw=image()),
    "ssd_head": Entry(build=Detector, draw=image(32)),
    "spatial_transformer": Entry(build=Warper, draw=smooth(1, 1, 28, 28)),
    "nerf": Entry(build=Radiance, draw=rows((1, 64, 3), (1, 64, 3))),
    "siren": Entry(build=Siren, draw=rows((1, 64, 2))),
    "kan": Entry(build=Splines, draw=rows((1, 4))),
    "mixture_of_experts": Entry(build=Experts, draw=rows((1, 12, 24))),
    "policy": Entry(build=Policy, draw=observation),
    "volume_3d": Entry(build=Volume, draw=smooth(1, 1, 16, 16, 16)),
    "capsules": Entry(build=Capsules, draw=smooth(1, 1, 28, 28)),
    "dcgan": Entry(build=Generator, draw=rows((1, 16))),
    "siamese": Entry(build=Siamese, draw=two_images),
    "diffusion": Entry(build=Diffuser, draw=step_and_image),
    "vq_vae": Entry(build=Quantizer, draw=image(32)),
    "sentence_encoder": Entry(build=Embedder, draw=tokens()),
}
