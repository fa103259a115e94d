"""Writer of `colongpt_logits.json`: what ColonGPT's authors' own code computes on the tiny checkpoints.

    python -m tests.support.colongpt_oracle CODE

CODE: folder with the package `colongpt` of github.com/ai4colonoscopy/IntelliScope (stored at commit 573142f).  Needs
the versions of its requirements (transformers 4.46.2, tokenizers 0.20.3, peft 0.13.2) and no network.  Their loader,
prompt, image processing, forward pass and `generate` run as they are, but in float32 (their loader sets bfloat16 and
float16) and without the vision towers that ColonGPT does not use and the packages (timm, einops, torchvision) that it
imports and does not call.
"""

from __future__ import annotations

import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from tests.support import tiny_colongpt as tiny

RESULT = Path(__file__).with_name("colongpt_logits.json")
# Places of the prompt whose logits are stored: after the image, and the last two.
PLACES, NEW = (-12, -2, -1), 8
UNCALLED = {
    "timm.layers.norm_act": ["LayerNormAct2d"],
    "torchvision.ops.misc": ["SqueezeExcitation"],
    "torchvision.models.mobilenetv3": ["InvertedResidual", "InvertedResidualConfig"],
    "einops": ["rearrange"],
}
OTHER_TOWERS = {
    "eva_clip.eva_clip_encoder": "EvaClipVisionTower", "clip.clip_encoder": "CLIPVisionTower",
    "vit.vit_encoder": "ViTVisionTower", "dino.dinov2_encoder": "Dinov2VisionTower",
    "mae.mae_encoder": "MAEVisionTower", "convnextv2.convnextv2_encoder": "Convnextv2VisionTower",
}  # fmt: skip


class InFloat32:
    """The module torch, whose half-precision types are float32."""

    def __getattr__(self, name: str) -> Any:
        import torch

        return torch.float32 if name in ("bfloat16", "float16") else getattr(torch, name)


def stand_in(name: str, members: list[str]) -> None:
    for end in (i for i, c in enumerate(f"{name}.") if c == "."):
        sys.modules.setdefault(name[:end], types.ModuleType(name[:end]))
    for member in members:
        setattr(sys.modules[name], member, object)


def answers(folder: Path, base: Path | None) -> list[dict[str, Any]]:
    import torch
    from colongpt.constants import DEFAULT_IMAGE_TOKEN
    from colongpt.conversation import conv_templates
    from colongpt.model import builder
    from colongpt.util.mm_utils import process_images, tokenizer_image_token

    builder.torch = InFloat32()
    tokenizer, model, image_processor, _ = builder.load_pretrained_model(
        str(folder), base and str(base), folder.name, "phi-1.5", device="cpu"
    )
    model.eval()
    found = []
    for number, question in enumerate(tiny.QUESTIONS):
        conversation = conv_templates["colongpt"].copy()
        conversation.append_message(conversation.roles[0], f"{DEFAULT_IMAGE_TOKEN}\n{question}")
        conversation.append_message(conversation.roles[1], None)
        prompt = conversation.get_prompt()
        ids = tokenizer_image_token(prompt, tokenizer, return_tensors="pt")[None]
        pixels = process_images([tiny.picture(number)], image_processor, model.config)
        with torch.inference_mode():
            logits = model(input_ids=ids, images=pixels).logits[0]
            new = model.generate(ids, images=pixels, do_sample=False, max_new_tokens=NEW, use_cache=True)[0]
        new = new[ids.shape[1] :] if new[: ids.shape[1]].equal(ids[0]) else new
        found.append(
            {
                "prompt": prompt,
                "ids": ids[0].tolist(),
                "pixels": [round(float(v), 6) for v in pixels.flatten()[::211]],
                "logits": {str(p): [round(float(v), 5) for v in logits[p]] for p in PLACES},
                "answer": new.tolist(),
            }
        )
    return found


def main(code: str) -> None:
    import peft  # noqa: F401  (both look for the packages below, and must not see the stand-ins)
    import transformers  # noqa: F401

    sys.path.insert(0, code)
    for name, members in UNCALLED.items():
        stand_in(name, members)
    for name, member in OTHER_TOWERS.items():
        sys.modules[f"colongpt.model.multimodal_encoder.{name}"] = types.ModuleType(name)
        setattr(sys.modules[f"colongpt.model.multimodal_encoder.{name}"], member, object)
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        siglip, phi = tiny.write_siglip(root / "siglip-tiny-patch14-70"), tiny.write_phi(root / "phi-1.5")
        merged = tiny.write_merged(root / "ColonGPT", str(siglip))
        lora = tiny.write_lora(root / "ColonGPT-lora", phi, str(siglip))
        found = {"merged": answers(merged, None), "lora": answers(lora, phi)}
    RESULT.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
