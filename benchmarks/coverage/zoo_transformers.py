"""Language, vision and speech models of transformers (Apache-2.0), two or three narrow layers each."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from zoo import Draw, Entry, Outputs, both, image, rows, smooth, tokens

_TEXT = {
    "vocab_size": 500,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
_IDS = ("input_ids", "attention_mask")


def _model(
    architecture: str, config: str, draw: Draw, names: tuple[str, ...] = (), *, fixed: Any = None, **size: Any
) -> Entry:
    def build() -> nn.Module:
        import transformers

        made: nn.Module = getattr(transformers, architecture)(getattr(transformers, config)(**size))
        return Outputs(made, names, **(fixed or {})) if names else made

    return Entry(build=build, draw=draw)


def _text(name: str, task: str = "Model", **more: Any) -> Entry:
    return _model(f"{name}{task}", f"{name}Config", tokens(), _IDS, **{**_TEXT, **more})


def _decoder(name: str, **more: Any) -> Entry:
    fixed = {"use_cache": False}
    return _model(f"{name}ForCausalLM", f"{name}Config", tokens(), _IDS, fixed=fixed, **{**_TEXT, **more})


_SEQ2SEQ = ("input_ids", "attention_mask", "decoder_input_ids")
_SPEECH = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_VISION = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 64,
    "patch_size": 16,
}


def _encodec_without_codebooks() -> nn.Module:
    return _encodec()


TABLE = {
    "bert": _text("Bert", "ForSequenceClassification"),
    "distilbert": _model(
        "DistilBertModel",
        "DistilBertConfig",
        tokens(),
        _IDS,
        vocab_size=500,
        dim=64,
        n_layers=2,
        n_heads=4,
        hidden_dim=128,
    ),
    "mobilebert": _text("MobileBert", embedding_size=32, intra_bottleneck_size=32, num_feedforward_networks=2),
    "albert": _text("Albert", embedding_size=32),
    "deberta_v2": _text("DebertaV2", relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"]),
    "squeezebert": _text("SqueezeBert", embedding_size=64),
    "convbert": _text("ConvBert", embedding_size=32, head_ratio=2),
    "modernbert": _text("ModernBert", pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2),
    "t5_encoder": _model(
        "T5EncoderModel",
        "T5Config",
        tokens(),
        _IDS,
        vocab_size=500,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
    ),
    "t5": _model(
        "T5ForConditionalGeneration",
        "T5Config",
        both(tokens(), tokens(8, mask=False)),
        _SEQ2SEQ,
        fixed={"use_cache": False},
        vocab_size=500,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
    ),
    "bart": _model(
        "BartForConditionalGeneration",
        "BartConfig",
        both(tokens(), tokens(8, mask=False)),
        _SEQ2SEQ,
        fixed={"use_cache": False},
        vocab_size=500,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
    ),
    "gpt2": _model(
        "GPT2LMHeadModel",
        "GPT2Config",
        tokens(),
        _IDS,
        fixed={"use_cache": False},
        vocab_size=500,
        n_embd=64,
        n_layer=2,
        n_head=4,
    ),
    "llama": _decoder("Llama", num_key_value_heads=2),
    "qwen3": _decoder("Qwen3", num_key_value_heads=2, head_dim=16),
    "gemma2": _decoder("Gemma2", num_key_value_heads=2, head_dim=16),
    "mamba": _model(
        "MambaForCausalLM",
        "MambaConfig",
        tokens(8, mask=False),
        ("input_ids",),
        fixed={"use_cache": False},
        vocab_size=500,
        hidden_size=32,
        num_hidden_layers=2,
        state_size=8,
    ),
    "mixtral": _decoder("Mixtral", num_key_value_heads=2, num_local_experts=4),
    "clip": _model(
        "CLIPModel",
        "CLIPConfig",
        both(tokens(), image()),
        ("input_ids", "attention_mask", "pixel_values"),
        text_config={**_TEXT, "max_position_embeddings": 32, "eos_token_id": 2},
        vision_config=_VISION,
        projection_dim=32,
    ),
    "vit": _model("ViTForImageClassification", "ViTConfig", image(), **_VISION),
    "dinov2": _model("Dinov2Model", "Dinov2Config", image(), **_VISION),
    "mobilevit": _model(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        image(),
        image_size=64,
        hidden_sizes=[64, 80, 96],
        neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        expand_ratio=2.0,
        num_labels=20,
    ),
    "segformer": _model(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        image(),
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 48, 64],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=64,
    ),
    "yolos": _model(
        "YolosForObjectDetection",
        "YolosConfig",
        image(),
        **{**_VISION, "image_size": [64, 64]},
        num_detection_tokens=10,
    ),
    "depth_anything": _model(
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        image(56),
        backbone_config={
            "model_type": "dinov2",
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
            "out_indices": [1, 2, 3, 4],
            "reshape_hidden_states": False,
            "apply_layernorm": True,
        },
        reassemble_hidden_size=64,
        neck_hidden_sizes=[16, 32, 48, 64],
        fusion_hidden_size=32,
        head_hidden_size=16,
        patch_size=14,
    ),
    "whisper_encoder": Entry(
        build=lambda: _whisper().get_encoder(),
        draw=smooth(1, 80, 200),
    ),
    "whisper": Entry(
        build=lambda: Outputs(_whisper(), ("input_features", "decoder_input_ids"), use_cache=False),
        draw=both(smooth(1, 80, 200), tokens(8, mask=False)),
    ),
    "wav2vec2": _model("Wav2Vec2ForCTC", "Wav2Vec2Config", smooth(1, 4000), **_SPEECH, vocab_size=32),
    "ast": _model(
        "ASTForAudioClassification",
        "ASTConfig",
        smooth(1, 64, 32),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_length=64,
        num_mel_bins=32,
    ),
    "encodec": Entry(build=_encodec_without_codebooks, draw=smooth(1, 1, 1600)),
    "patchtst": _model(
        "PatchTSTForPrediction",
        "PatchTSTConfig",
        rows((1, 64, 3)),
        ("past_values",),
        num_input_channels=3,
        context_length=64,
        patch_length=8,
        patch_stride=8,
        prediction_length=8,
        d_model=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
    ),
}


def _whisper() -> Any:
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=500,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=100,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return transformers.WhisperForConditionalGeneration(config)


class _Encodec(nn.Module):
    """EnCodec's encoder and decoder, without the codebooks in between."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.decoder(self.encoder(sound))
        return made


def _encodec() -> nn.Module:
    import transformers

    config = transformers.EncodecConfig(num_filters=8, hidden_size=32, num_lstm_layers=1, upsampling_ratios=[4, 4, 2])
    made = transformers.EncodecModel(config)
    return _Encodec(made.encoder, made.decoder)
