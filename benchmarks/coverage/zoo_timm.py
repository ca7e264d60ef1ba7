"""Image classifiers of timm (Apache-2.0)."""

from __future__ import annotations

from typing import Any

from torch import nn
from zoo import Entry, image


def _model(name: str, size: int = 64, **more: Any) -> Entry:
    def build() -> nn.Module:
        import stubs  # noqa: F401  before torchvision
        import timm

        made: nn.Module = timm.create_model(name, pretrained=False, num_classes=20, **more)
        return made

    return Entry(build=build, draw=image(size))


TABLE = {
    "mobilenetv3_small_100": _model("mobilenetv3_small_100"),
    "mobilenetv4_conv_small": _model("mobilenetv4_conv_small"),
    "efficientnet_lite0": _model("efficientnet_lite0"),
    "efficientnet_b0": _model("efficientnet_b0"),
    "ghostnet_100": _model("ghostnet_100"),
    "repvit_m0_9": _model("repvit_m0_9"),
    "fastvit_t8": _model("fastvit_t8"),
    "resnet18": _model("resnet18"),
    "convnext_atto": _model("convnext_atto"),
    "convnextv2_atto": _model("convnextv2_atto"),
    "edgenext_xx_small": _model("edgenext_xx_small"),
    "mobilevitv2_050": _model("mobilevitv2_050"),
    "efficientformer_l1": _model("efficientformer_l1", 224),
    "efficientvit_b0": _model("efficientvit_b0"),
    "efficientvit_m0": _model("efficientvit_m0", 224),
    "levit_128s": _model("levit_128s", 224),
    "poolformer_s12": _model("poolformer_s12"),
    "pvt_v2_b0": _model("pvt_v2_b0"),
    "deit_tiny": _model("deit_tiny_patch16_224", 64, img_size=64, depth=4),
    "swin_tiny": _model("swin_tiny_patch4_window7_224", 56, img_size=56, depths=(2, 2), embed_dim=48, num_heads=(3, 6)),
    "swinv2_tiny": _model(
        "swinv2_cr_tiny_224", 64, img_size=64, window_size=4, depths=(2, 2), embed_dim=48, num_heads=(3, 6)
    ),
    "maxvit_pico": _model("maxvit_rmlp_pico_rw_256", 64, img_size=64),
    "xcit_nano": _model("xcit_nano_12_p16_224", 64, img_size=64, depth=3),
    "gmlp_ti16": _model("gmlp_ti16_224", 64, img_size=64),
    "tiny_vit_5m": _model("tiny_vit_5m_224", 64),
    "eva02_tiny": _model("eva02_tiny_patch14_224", 56, img_size=56, depth=3),
}
