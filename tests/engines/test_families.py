"""Prefix sharing with tiny random models of five families: which share, which fall back, and equal logits.

Token ids and image tensors are made by hand, as each family's processor would make them, because some processors
need libraries that evalkit does not.  No parameter is zero: Gemma 3's projection and Mllama's gates are initialised to
zero, so the image would have no effect and a wrong cache would pass.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from evalkit.core.types import Generation, ImageRef, Message, Request
from evalkit.engines import plain_decode, prefix_check, prefix_decode, shared_prefix
from evalkit.engines.batching import BatchRunner, PrefixSharing
from evalkit.engines.loaded_model import Counters, LoadedModel
from evalkit.engines.packing import Limits
from evalkit.engines.plain_decode import Trace
from evalkit.engines.preprocess import PromptGroup, PromptRow
from evalkit.engines.shared_prefix import PrefixGroup
from tests.support import tiny_llava as tiny

pytestmark = pytest.mark.slow

IMAGE, VOCABULARY, NEW = 4, 120, 6
TEXT = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
    "patch_size": 14,
}  # fmt: skip


class Words:
    """Minimal tokenizer for answers: the text of an id is its number."""

    eos_token_id = 2
    pad_token_id = 0

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        return " ".join(str(i) for i in ids)


class Processor:
    tokenizer = Words()


def llava() -> tuple[Any, Callable[..., Any]]:
    return tiny.model(), pixels("pixel_values", (1, 3, 56, 56), places=16)


def qwen() -> tuple[Any, Callable[..., Any]]:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = {k: v for k, v in TEXT.items() if k != "head_dim"}
    rope = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 1e4}
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={
            "depth": 2, "hidden_size": 32, "out_hidden_size": 48, "num_heads": 2, "intermediate_size": 64,
            "patch_size": 14, "spatial_merge_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
        },
        image_token_id=IMAGE, vision_start_token_id=5, vision_end_token_id=6, video_token_id=7,
    )  # fmt: skip

    def features(generator: Any) -> tuple[dict[str, Any], list[int]]:
        import torch

        # Images of different sizes, so that prefixes in a pack are of different lengths.
        height = 4 + 2 * int(torch.randint(0, 2, (1,), generator=generator))
        patches = torch.randn((height * 6, 3 * 2 * 14 * 14), generator=generator)
        grid = torch.tensor([[1, height, 6]])
        return {"pixel_values": patches, "image_grid_thw": grid}, [5, *[IMAGE] * (height * 6 // 4), 6]

    return Qwen2_5_VLForConditionalGeneration(config), features


def gemma() -> tuple[Any, Callable[..., Any]]:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config={**TEXT, "sliding_window": 64, "layer_types": ["sliding_attention"] * 2 + ["full_attention"],
                     "query_pre_attn_scalar": 12},
        vision_config={**VISION, "model_type": "siglip_vision_model"},
        mm_tokens_per_image=4, image_token_index=IMAGE, boi_token_index=5, eoi_token_index=6,
    )  # fmt: skip
    return Gemma3ForConditionalGeneration(config), pixels("pixel_values", (1, 3, 56, 56), places=4)


def paligemma() -> tuple[Any, Callable[..., Any]]:
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    config = PaliGemmaConfig(
        text_config={**TEXT, "model_type": "gemma"},
        vision_config={**VISION, "model_type": "siglip_vision_model", "projection_dim": 48, "vision_use_head": False},
        image_token_index=IMAGE, projection_dim=48, hidden_size=48,
    )  # fmt: skip
    return PaliGemmaForConditionalGeneration(config), pixels("pixel_values", (1, 3, 56, 56), places=16)


def mllama() -> tuple[Any, Callable[..., Any]]:
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    text = {k: v for k, v in TEXT.items() if k != "head_dim"}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    config = MllamaConfig(
        text_config={**text, "cross_attention_layers": [1], "rope_parameters": rope},
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
            "attention_heads": 2, "image_size": 56, "patch_size": 14, "max_num_tiles": 1, "vision_output_dim": 64,
            "intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1]],
        },
        image_token_index=IMAGE,
    )  # fmt: skip

    def features(generator: Any) -> tuple[dict[str, Any], list[int]]:
        import torch

        images = {
            "pixel_values": torch.randn((1, 1, 1, 3, 56, 56), generator=generator),
            "aspect_ratio_ids": torch.ones((1, 1), dtype=torch.long),
            "aspect_ratio_mask": torch.ones((1, 1, 1), dtype=torch.long),
        }
        return images, [IMAGE]

    return MllamaForConditionalGeneration(config), features


def pixels(name: str, shape: tuple[int, ...], places: int) -> Callable[..., Any]:
    def features(generator: Any) -> tuple[dict[str, Any], list[int]]:
        import torch

        return {name: torch.randn(shape, generator=generator)}, [IMAGE] * places

    return features


def sequences(family: str, ids: list[int]) -> dict[str, Any]:
    """Per-token tensors that the family's processor returns."""
    import torch

    tokens = torch.tensor([ids])
    if family == "gemma":
        return {"token_type_ids": (tokens == IMAGE).long()}
    if family == "paligemma":
        return {"token_type_ids": torch.zeros_like(tokens)}
    if family == "qwen":
        return {"mm_token_type_ids": (tokens == IMAGE).int()}
    if family == "mllama":
        return {"cross_attention_mask": torch.ones((1, len(ids), 1, 1), dtype=torch.long)}
    return {}


FAMILIES = {"llava": llava, "qwen": qwen, "gemma": gemma, "paligemma": paligemma, "mllama": mllama}
SHARING = ("llava", "qwen", "gemma")


def load(family: str, dtype: str = "float32") -> tuple[LoadedModel, Callable[..., Any]]:
    import torch

    torch.manual_seed(0)
    made, features = FAMILIES[family]()
    model = tiny.randomise(made).to(getattr(torch, dtype))
    model.generation_config.suppress_tokens = [IMAGE]
    assert all(bool(p.any()) for p in model.parameters())
    generation = Generation(max_new_tokens=NEW)
    return LoadedModel(model=model, processor=Processor(), device="cpu", dtype=dtype, generation=generation), features


def groups(family: str, features: Callable[..., Any], questions: tuple[int, ...] = (5, 1, 3, 1)) -> list[PromptGroup]:
    import torch

    generator = torch.Generator().manual_seed(1)
    rng = random.Random(1)
    made = []
    for number, count in enumerate(questions):
        images, places = features(generator)
        digest = hashlib.sha256(bytes([number])).hexdigest()
        rows = []
        for i in range(count):
            question = [rng.randrange(10, VOCABULARY) for _ in range(rng.randint(1, 8))]
            ids = [1, 11, *places, 12, *question, 13]
            request = Request(
                sample_id=f"{number}-{i}", image_id=str(number), question="", answer_type=None,
                messages=(Message(role="user", content=(str(i),)),),
                images=(ImageRef(kind="file", path=str(number)),), image_digests=(digest,),
                generation=Generation(max_new_tokens=NEW), checkpoint=family,
            )  # fmt: skip
            rows.append(PromptRow(request=request, ids=tuple(ids), sequences=sequences(family, ids), images=images))
        made.append(PromptGroup(rows=tuple(rows)))
    return made


def plans(loaded: LoadedModel, made: list[PromptGroup], exact: bool = False) -> list[PrefixGroup]:
    shared = [shared_prefix.find_prefix(loaded, g, exact=exact) for g in made]
    assert all(isinstance(s, PrefixGroup) for s in shared), shared
    return [s for s in shared if isinstance(s, PrefixGroup)]


@pytest.mark.parametrize(("exact", "forward_places"), [(False, None), (False, 1), (False, 45), (True, None)])
@pytest.mark.parametrize("family", SHARING)
def test_logits_of_every_step_are_those_of_plain_prompts(family: str, exact: bool, forward_places: int | None) -> None:
    loaded, features = load(family)
    pack = plans(loaded, groups(family, features), exact)
    packs = [[s] for s in pack] if exact else [[s for s in pack if s.whole == whole] for whole in (False, True)]
    compared = 0
    for part in packs:
        logits: dict[tuple[int, int], list[Any]] = {}
        answers = prefix_decode.answer(
            loaded,
            part,
            at_once=1 if exact else None,
            forward_places=forward_places,
            record=lambda m, i, values, to=logits: to.setdefault((m, i), []).append(values.clone()),
        )
        for (m, i), found in logits.items():
            (alone,) = plain_decode.answer_with_logits(loaded, [part[m].group.rows[i]])
            assert prefix_check.largest_difference(Trace(answers[m][i], found), alone) < 1e-4
            assert answers[m][i] == alone.ids[: len(answers[m][i])]
            compared += len(found)
    assert compared > 10 * 3  # answers of several steps


def _pixels(group: PromptGroup) -> Any:
    return group.rows[0].images["pixel_values"]


@pytest.mark.parametrize("family", SHARING)
def test_the_cache_of_another_image_changes_the_logits(family: str) -> None:
    loaded, features = load(family)
    group, *others = groups(family, features, (1,) * 8)
    row = group.rows[0]
    other = next(g for g in others if g.shape == group.shape and len(_pixels(g)) == len(_pixels(group)))
    swapped = PromptRow(request=row.request, ids=row.ids, sequences=row.sequences, images=other.rows[0].images)
    first: list[Any] = []
    prefix_decode.answer(
        loaded, plans(loaded, [PromptGroup(rows=(swapped,))]), record=lambda _m, _i, v: first.append(v.clone())
    )
    (alone,) = plain_decode.answer_with_logits(loaded, [row])
    assert float((first[0] - alone.logits[0]).abs().max()) > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_families_share_prefixes_or_fall_back_as_expected(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    loaded, features = load(family)
    made = groups(family, features)
    rows = [row for g in made for row in g.rows]
    right = {row.request.sample_id: plain_decode.answer(loaded, [row])[0] for row in rows}
    loaded.counters = Counters()
    sharing = PrefixSharing(family, "auto")
    if reason := shared_prefix.model_obstacle(loaded):
        sharing.disable(reason)
    given = [
        pair
        for batch in BatchRunner(loaded, sharing, Limits(tokens=1000), exact=False).run(iter(made))
        for pair in batch
    ]
    assert len(given) == len(rows)
    for row, p in given:
        assert row is not None
        wanted = right[row.request.sample_id]
        wanted = wanted[: wanted.index(2)] if 2 in wanted else wanted
        assert p.text == " ".join(map(str, wanted)), p.error
    if family in SHARING:
        assert (sharing.allowed, dict(sharing.reasons)) == (True, {})
        assert loaded.counters.prefix_prefills == len(made)
        return
    expected = {"paligemma": "logits differ", "mllama": "cross-attention"}[family]
    assert not sharing.allowed
    assert len(sharing.reasons) == 1
    assert expected in next(iter(sharing.reasons))
    assert capsys.readouterr().err.count(expected) == 1


@pytest.mark.parametrize("family", SHARING)
def test_sharing_passes_its_check_in_bfloat16(family: str) -> None:
    loaded, features = load(family, "bfloat16")
    result = prefix_check.check(loaded, plans(loaded, groups(family, features, (5, 3))))
    assert result.reason is None
    assert 0 < result.measurements["logit_difference"] <= result.measurements["tolerance"]


def test_the_check_alone_detects_that_mllama_cannot_share() -> None:
    """Its tokens can be equal while its logits differ: the structural reason is not the only safeguard."""
    loaded, features = load("mllama")
    made = [
        PromptGroup(rows=tuple(PromptRow(request=r.request, ids=r.ids, sequences={}, images=r.images) for r in g.rows))
        for g in groups("mllama", features)
    ]
    sharing = PrefixSharing("mllama", "auto")
    list(BatchRunner(loaded, sharing, Limits(tokens=1000), exact=False).run(iter(made)))
    assert sharing.allowed is False


def test_prompts_longer_than_the_sliding_window_are_not_shared() -> None:
    loaded, features = load("gemma")
    loaded.model.config.text_config.sliding_window = 12
    reason = shared_prefix.find_prefix(loaded, groups("gemma", features)[0], exact=False)
    assert isinstance(reason, str)
    assert "sliding window of 12" in reason
