"""The architectures whose latencies are published, with random weights: only their shapes matter.

Needs torchvision, timm and ultralytics beside edgekit's own needs (see ../README.md). The analyses are made once; what
the fit reads is `model_features.json`, so that fitting and testing need none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Builder = Callable[[], Any]
Shape = tuple[int, ...]


def declare_torchvision_operators() -> None:
    """Lets torchvision's Python part load where its compiled part does not fit this torch: no model here needs it."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # noqa: TOR901  lives as long as the process
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        try:
            library.define(schema)
        except RuntimeError:
            return  # the compiled part is there
    _KEPT.append(library)


_KEPT: Final[list[Any]] = []


def mobilenet_v1(width: float) -> Any:
    """Returns MobileNetV1 (Howard et al., 2017) with `width` times the channels."""
    from torch import nn

    def conv(i: int, o: int, k: int, s: int, g: int = 1) -> list[Any]:
        return [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), nn.ReLU6()]

    def scaled(channels: int) -> int:
        return max(8, int(channels * width))

    layers, seen = conv(3, scaled(32), 3, 2), scaled(32)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for out, stride in plan:
        layers += conv(seen, seen, 3, stride, seen) + conv(seen, scaled(out), 1, 1)
        seen = scaled(out)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(seen, 1001))


def mobilenet_ssd() -> Any:
    """Returns MobileNetV1-SSD at 300 x 300, 21 classes, without decoding (chuanqi305's layers: the one ncnn times)."""
    import torch
    from torch import nn

    body = list(mobilenet_v1(1.0))[:-3]
    extras = [(1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 128)]

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Sequential(*body[: 3 + 6 * 11]), nn.Sequential(*body[3 + 6 * 11 :])
            self.extras = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 1), nn.ReLU(), nn.Conv2d(b, c, 3, 2, 1), nn.ReLU()) for a, b, c in extras
            )
            channels, boxes = (512, 1024, 512, 256, 256, 128), (3, 6, 6, 6, 6, 6)
            self.places = nn.ModuleList(nn.Conv2d(c, 4 * n, 1) for c, n in zip(channels, boxes, strict=True))
            self.classes = nn.ModuleList(nn.Conv2d(c, 21 * n, 1) for c, n in zip(channels, boxes, strict=True))

        def forward(self, x: Any) -> Any:
            maps = [self.first(x)]
            maps.append(self.second(maps[0]))
            for extra in self.extras:
                maps.append(extra(maps[-1]))
            places = [head(m).permute(0, 2, 3, 1).flatten(1) for head, m in zip(self.places, maps, strict=True)]
            classes = [head(m).permute(0, 2, 3, 1).flatten(1) for head, m in zip(self.classes, maps, strict=True)]
            scores = torch.cat(classes, 1).view(1, -1, 21).softmax(-1)
            return torch.cat(places, 1), scores

    return Detector()


def shufflenet_v1() -> Any:
    """Returns ShuffleNet 1x with three groups (Zhang et al., 2018)."""
    import torch
    from torch import nn

    class Unit(nn.Module):
        def __init__(self, i: int, o: int, stride: int, groups: int) -> None:
            super().__init__()
            mid, self.stride = o // 4, stride
            out = o - i if stride == 2 else o
            self.squeeze = nn.Sequential(nn.Conv2d(i, mid, 1, groups=groups), nn.ReLU())
            self.depth = nn.Conv2d(mid, mid, 3, stride, 1, groups=mid)
            self.expand = nn.Conv2d(mid, out, 1, groups=3)
            self.pool, self.act = nn.AvgPool2d(3, 2, 1), nn.ReLU()

        def forward(self, x: Any) -> Any:
            y = self.squeeze(x)
            n, c, h, w = y.shape
            y = y.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
            y = self.expand(self.depth(y))
            return self.act(x + y) if self.stride == 1 else torch.cat([self.act(y), self.pool(x)], 1)

    layers: list[Any] = [nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    seen = 24
    for out, repeats in ((240, 3), (480, 7), (960, 3)):
        layers.append(Unit(seen, out, 2, 1 if seen == 24 else 3))
        layers += [Unit(out, out, 1, 3) for _ in range(repeats)]
        seen = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, 1000))


def yolov4_tiny() -> Any:
    """Returns YOLOv4-tiny at 416 x 416, 80 classes, without decoding (Wang et al., 2021)."""
    import torch
    from torch import nn

    def conv(i: int, o: int, k: int, s: int = 1) -> Any:
        return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2), nn.LeakyReLU(0.1))

    class Partial(nn.Module):
        def __init__(self, c: int) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = (
                conv(c, c, 3),
                conv(c // 2, c // 2, 3),
                conv(c // 2, c // 2, 3),
                conv(c, c, 1),
            )
            self.pool = nn.MaxPool2d(2, 2)

        def forward(self, x: Any) -> Any:
            whole = self.a(x)
            first = self.b(whole.chunk(2, 1)[1])
            kept = self.d(torch.cat([self.c(first), first], 1))
            return self.pool(torch.cat([whole, kept], 1)), kept

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(conv(3, 32, 3, 2), conv(32, 64, 3, 2))
            self.parts = nn.ModuleList([Partial(64), Partial(128), Partial(256)])
            self.neck, self.mid = conv(512, 512, 3), conv(512, 256, 1)
            self.head = nn.Sequential(conv(256, 512, 3), nn.Conv2d(512, 255, 1))
            self.up = nn.Sequential(conv(256, 128, 1), nn.Upsample(scale_factor=2))
            self.fine = nn.Sequential(conv(384, 256, 3), nn.Conv2d(256, 255, 1))

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            kept = x
            for part in self.parts:
                x, kept = part(x)
            middle = self.mid(self.neck(x))
            return self.head(middle), self.fine(torch.cat([self.up(middle), kept], 1))

    return Net()


def style_transfer() -> Any:
    """Returns the style transfer network of Johnson et al. (2016) with instance norms."""
    from torch import nn

    def conv(i: int, o: int, k: int, s: int) -> list[Any]:
        return [nn.ReflectionPad2d(k // 2), nn.Conv2d(i, o, k, s)]

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            norm = nn.InstanceNorm2d(128, affine=True)
            self.body = nn.Sequential(*conv(128, 128, 3, 1), norm, nn.ReLU(), *conv(128, 128, 3, 1), norm)

        def forward(self, x: Any) -> Any:
            return x + self.body(x)

    layers: list[Any] = []
    for i, o, k, s in ((3, 32, 9, 1), (32, 64, 3, 2), (64, 128, 3, 2)):
        layers += [*conv(i, o, k, s), nn.InstanceNorm2d(o, affine=True), nn.ReLU()]
    layers += [Residual() for _ in range(5)]
    for i, o in ((128, 64), (64, 32)):
        layers += [nn.Upsample(scale_factor=2), *conv(i, o, 3, 1), nn.InstanceNorm2d(o, affine=True), nn.ReLU()]
    return nn.Sequential(*layers, *conv(32, 3, 9, 1))


def _torchvision(name: str, **more: Any) -> Builder:
    def build() -> Any:
        import torchvision

        if name in ("googlenet", "inception_v3"):
            more.update(aux_logits=False, init_weights=False)
        return getattr(torchvision.models, name)(weights=None, **more)

    return build


def _timm(name: str) -> Builder:
    def build() -> Any:
        import timm
        from timm.utils.model import reparameterize_model

        model = timm.create_model(name, pretrained=False, exportable=True).eval()
        # MobileOne, FastViT and RepViT train with branches that are one convolution at inference.
        return reparameterize_model(model)

    return build


def _ultralytics(name: str) -> Builder:
    def build() -> Any:
        from torch import nn
        from ultralytics.nn.tasks import ClassificationModel, DetectionModel

        kind = ClassificationModel if name.endswith("-cls") else DetectionModel
        network = kind(f"{name}.yaml", verbose=False).eval()
        head = network.model[-1]
        head.export, head.format = True, "onnx"

        class Inference(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network.fuse(verbose=False)

            def forward(self, x: Any) -> Any:
                return self.network(x)

        return Inference()

    return build


_WIDTH_SIZE: Final = re.compile(r"(mobilenet_v[12])_([\d.]+)_(\d+)")

_TORCHVISION: Final[Mapping[str, int]] = {
    "alexnet": 224, "densenet121": 224, "densenet161": 224, "densenet169": 224, "densenet201": 224, "googlenet": 224,
    "inception_v3": 299, "mnasnet0_5": 224, "mnasnet0_75": 224, "mnasnet1_0": 224, "mnasnet1_3": 224,
    "mobilenet_v3_large": 224, "mobilenet_v3_small": 224, "resnet18": 224, "resnet34": 224, "resnet50": 224,
    "resnet101": 224, "resnet152": 224, "resnext50_32x4d": 224, "resnext101_32x8d": 224, "wide_resnet50_2": 224,
    "shufflenet_v2_x1_0": 224, "squeezenet1_0": 224, "squeezenet1_1": 224, "vgg11": 224, "vgg13": 224, "vgg16": 224,
    "vgg19": 224, "regnet_y_400mf": 224, "regnet_y_800mf": 224, "regnet_x_3_2gf": 224, "efficientnet_b0": 224,
    "efficientnet_b4": 380, "efficientnet_v2_s": 384, "convnext_tiny": 224, "convnext_base": 224,
}  # fmt: skip

_TIMM: Final[Mapping[str, int]] = {
    "tf_efficientnet_lite0": 224, "tf_efficientnet_lite1": 240, "tf_efficientnet_lite2": 260,
    "tf_efficientnet_lite3": 280, "tf_efficientnet_lite4": 300, "tf_mobilenetv3_small_075": 224,
    "tf_mobilenetv3_small_100": 224, "tf_mobilenetv3_small_minimal_100": 224, "tf_mobilenetv3_large_075": 224,
    "tf_mobilenetv3_large_100": 224, "tf_mobilenetv3_large_minimal_100": 224, "tf_efficientnetv2_b0": 224,
    "inception_v4": 299, "inception_resnet_v2": 299, "resnetv2_50": 299, "resnetv2_101": 299, "nasnetalarge": 331,
    "vit_base_patch16_384": 384, "vit_base_patch16_224": 224, "vit_base_patch32_clip_224": 224, "mobilevit_s": 256,
    "mobileone_s0": 224, "mobileone_s1": 224, "mobileone_s2": 224, "mobileone_s3": 224, "mobileone_s4": 224,
    "fastvit_t8": 256, "fastvit_t12": 256, "fastvit_s12": 256, "fastvit_sa12": 256, "fastvit_sa24": 256,
    "fastvit_sa36": 256, "fastvit_ma36": 256, "fastvit_mci0": 256, "fastvit_mci1": 256, "fastvit_mci2": 256,
    "vit_base_mci_224": 224, "vit_large_patch14_clip_224": 224, "efficientformer_l1": 224, "efficientformer_l3": 224,
    "efficientformer_l7": 224, "efficientformerv2_s0": 224, "efficientformerv2_s1": 224, "efficientformerv2_s2": 224,
    "efficientformerv2_l": 224, "repvit_m0_9": 224, "repvit_m1_0": 224, "repvit_m1_1": 224, "repvit_m1_5": 224,
    "repvit_m2_3": 224, "swiftformer_xs": 224, "swiftformer_s": 224, "swiftformer_l1": 224, "swiftformer_l3": 224,
    "mnasnet_small": 224, "semnasnet_100": 224,
}  # fmt: skip

_EFFICIENTVIT: Final = tuple(f"efficientvit_{size}@{side}" for size in ("b1", "b2", "b3") for side in (224, 256, 288))
_YOLO: Final = tuple(f"yolo{v}{size}@640" for v in ("v8", "11", "26") for size in "nsmlx")
_YOLO_PHONES: Final = (*(f"yolo26{size}@512" for size in "nsmlx"), "yolo26n-cls@224")


def builders() -> dict[str, tuple[Builder, Shape]]:
    """Returns every model that the fit can use: name to builder and input shape (N, C, H, W)."""
    found: dict[str, tuple[Builder, Shape]] = {
        "mobilenet_ssd": (mobilenet_ssd, (1, 3, 300, 300)),
        "shufflenet_v1": (shufflenet_v1, (1, 3, 224, 224)),
        "yolov4_tiny": (yolov4_tiny, (1, 3, 416, 416)),
        "style_transfer": (style_transfer, (1, 3, 640, 640)),
        "alexnet@227": (_torchvision("alexnet"), (1, 3, 227, 227)),
    }
    for width in (0.25, 0.5, 0.75, 1.0):
        for side in (128, 160, 192, 224):
            found[f"mobilenet_v1_{width:g}_{side}"] = (lambda w=width: mobilenet_v1(w), (1, 3, side, side))
    widths = [(w, s) for w in (0.35, 0.5, 0.75, 1.0) for s in (96, 128, 160, 192, 224)]
    for width, side in [*widths, (1.3, 224), (1.4, 224)]:
        found[f"mobilenet_v2_{width:g}_{side}"] = (_torchvision("mobilenet_v2", width_mult=width), (1, 3, side, side))
    for side in (96, 128, 160, 192):
        found[f"mnasnet1_0@{side}"] = (_torchvision("mnasnet1_0"), (1, 3, side, side))
    for table, make in ((_TORCHVISION, _torchvision), (_TIMM, _timm)):
        found |= {name: (make(name), (1, 3, side, side)) for name, side in table.items()}
    for names, make in ((_EFFICIENTVIT, _timm), ((*_YOLO, *_YOLO_PHONES), _ultralytics)):
        for name in names:
            base, side = name.split("@")
            found[name] = (make(base), (1, 3, int(side), int(side)))
    return found
