"""LoRA, SoMA and Rein on tiny Vision Transformers: unchanged at first, merged, copied, resumed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from uda.models.peft import LoRA, Rein, SoMA, TunedEncoder, Tuning
from uda.models.peft.base import find_blocks, prefix_tokens
from uda.models.peft.low_rank import LowRankChange

WIDTH = 16


class Vit(nn.Module):
    """Tokens of a ViT of three thin blocks, with weights that matter."""

    def __init__(self, name: str = "vit_tiny_patch16_224", **arguments: Any) -> None:
        super().__init__()
        self.model = timm.create_model(
            name, img_size=32, embed_dim=WIDTH, num_heads=2, depth=3, num_classes=0, **arguments
        )
        for parameter in self.model.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, image: Tensor) -> Tensor:
        """Normed tokens."""
        found: Tensor = self.model.forward_features(image)
        return found


def make(tuning: Tuning | None, seed: int = 0, **arguments: Any) -> tuple[TunedEncoder, Tensor]:
    """A tuned ViT that has taken its start, and what it gave before it was tuned."""
    torch.manual_seed(seed)
    encoder = Vit()
    encoder.eval()
    with torch.no_grad():
        before = encoder(image())
    tuned = TunedEncoder(encoder=encoder, tuning=tuning, **arguments)
    tuned.init_weights()
    return tuned, before


def image() -> Tensor:
    """Two images of 32x32 pixels."""
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def move(tuned: TunedEncoder, steps: int = 3) -> None:
    """Train the tuning away from where it started."""
    parameters = [p for p in tuned.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        tuned(image()).square().mean().backward()
        optimiser.step()


LOW_RANK = {"lora": lambda: LoRA(rank=3), "soma": lambda: SoMA(rank=3, first_block=1)}


@pytest.mark.parametrize("kind", [*LOW_RANK, "rein"])
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 100))
def test_start_properties(kind: str, seed: int) -> None:
    """At first LoRA, SoMA, and Rein with scale 0 change nothing; after training they do."""
    tuning = Rein(tokens=4, rank=2, scale=0.0) if kind == "rein" else LOW_RANK[kind]()
    tuned, before = make(tuning, seed)
    torch.testing.assert_close(tuned(image()), before, atol=1e-4, rtol=1e-4)
    move(tuned)
    assert (tuned(image()) - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", LOW_RANK)
def test_merged_values(kind: str) -> None:
    """The plain network with merged weights computes what the tuned one does, with its names."""
    tuned, _ = make(LOW_RANK[kind]())
    move(tuned)
    plain = Vit()
    plain.load_state_dict(tuned.merged_state())
    torch.testing.assert_close(plain.eval()(image()), tuned.eval()(image()), atol=1e-4, rtol=1e-4)


def test_frozen_values() -> None:
    """Frozen weights get no gradient and do not move; biases of SoMA's layers are trained."""
    tuned, _ = make(SoMA(rank=2, first_block=2))
    before = {name: value.clone() for name, value in tuned.named_parameters()}
    move(tuned)
    for name, value in tuned.named_parameters():
        assert torch.equal(value, before[name]) != value.requires_grad, name
        assert (value.grad is not None) == value.requires_grad, name
    trained = {name for name, value in tuned.encoder.named_parameters() if value.requires_grad}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert trained == {f"model.blocks.2.{layer}.bias" for layer in layers}


def test_lora_parameters_values() -> None:
    """Rank 2 on width 16: A (6, 16) and B (48, 2) for qkv, 2 * (in + out) for the others.

    192 + 64 + 2 * 2 * (16 + 64) = 576 a block.
    """
    tuned, _ = make(LoRA(rank=2))
    assert sum(p.numel() for p in tuned.parameters() if p.requires_grad) == 3 * 576


def test_fused_layer_values() -> None:
    """Query, key and value of a fused layer are split by themselves, not as one matrix."""
    torch.manual_seed(0)
    fused = nn.Linear(4, 12)
    parts = [nn.Linear(4, 4, bias=False) for _ in range(3)]
    for part, weight in zip(parts, fused.weight.chunk(3, 0), strict=True):
        part.weight.data.copy_(weight)
    change = LowRankChange(fused, rank=2, alpha=2.0, parts=3)
    change.take_minor(fused)
    for number, part in enumerate(parts):
        alone = LowRankChange(part, rank=2, alpha=2.0)
        alone.take_minor(part)
        rows = slice(4 * number, 4 * number + 4)
        torch.testing.assert_close(change.weight()[rows], alone.weight())
        torch.testing.assert_close(fused.weight[rows], part.weight)


@pytest.mark.parametrize("parts", [1, 2])
def test_change_grad(parts: int) -> None:
    """Gradients in double precision, and the hooked output equals that of the summed weight."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 4).double()
    change = LowRankChange(layer, rank=2, alpha=3.0, parts=parts)
    nn.init.normal_(change.b)
    values = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(change, (values,))
    torch.testing.assert_close(change(values), values @ change.weight().T)


def test_rein_values() -> None:
    """One token beside the empty one, zero-like maps: f + s (W2 (d + f)) by hand.

    D = 1, tokens 0 and 2, W1 = W2 = identity: f = 1 gives scores 0 and 2, d = 2 e^2/(1 + e^2),
    and f + 0.5 (d + 1).
    """
    rein = Rein(tokens=2, rank=1, scale=0.5)
    rein.build(blocks=1, width=1, prefix=1)
    with torch.no_grad():
        rein.tokens_a.copy_(torch.tensor([[[0.0], [2.0]]]))
        rein.tokens_b.fill_(1.0)
        for linear in (rein.token_to_feature, rein.refine):
            linear.weight.fill_(1.0)
            linear.bias.zero_()
    found = rein(torch.tensor([[[7.0], [1.0]]]), 0).flatten()
    delta = 2 * torch.tensor(2.0).exp() / (1 + torch.tensor(2.0).exp())
    torch.testing.assert_close(found, torch.stack([torch.tensor(7.0), 1 + 0.5 * (delta + 1)]))


@pytest.mark.parametrize("kind", [*LOW_RANK, "rein"])
def test_deepcopy_values(kind: str) -> None:
    """A copy, as a teacher is, has a tuning of its own: training one leaves the other."""
    tuning = Rein(tokens=4, rank=2) if kind == "rein" else LOW_RANK[kind]()
    tuned, _ = make(tuning)
    move(tuned, 1)
    other = copy.deepcopy(tuned)
    kept = other(image()).detach().clone()
    torch.testing.assert_close(kept, tuned(image()))
    move(tuned)
    assert torch.equal(other(image()), kept)
    assert (tuned(image()) - kept).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [*LOW_RANK, "rein"])
def test_state_dict_resume(kind: str) -> None:
    """A network built anew and given the state dict computes the same, without `init_weights`."""
    tuning = {"rein": lambda: Rein(tokens=4, rank=2), **LOW_RANK}[kind]
    tuned, _ = make(tuning())
    move(tuned)
    fresh = TunedEncoder(encoder=Vit(), tuning=tuning())
    fresh.load_state_dict(tuned.state_dict())
    assert torch.equal(fresh.eval()(image()), tuned.eval()(image()))


def test_modes_values() -> None:
    """Frozen modules stay in evaluation mode; those that are trained follow the switch."""
    torch.manual_seed(0)
    tuned = TunedEncoder(encoder=Vit(drop_path_rate=0.5), tuning=LoRA(rank=2), trainable=["norm."])
    tuned.train()
    assert tuned.tuning is not None
    assert tuned.tuning.training
    assert tuned.encoder.model.norm.training
    assert not any(m.training for m in tuned.encoder.model.blocks.modules())
    assert torch.equal(tuned(image()), tuned(image()))


def test_registers_and_stages_values() -> None:
    """Class token and registers are a prefix; blocks of Swin's stages are all found."""
    assert prefix_tokens(Vit("vit_small_patch14_reg4_dinov2", patch_size=16)) == 5
    swin = timm.create_model("swin_tiny_patch4_window7_224", features_only=True)
    assert len(find_blocks(swin)) == 12
    LoRA(rank=2).attach(swin)


def rein_on_swin() -> None:
    """Blocks of a pyramid give maps, not tokens."""
    swin = timm.create_model("swin_tiny_patch4_window7_224", img_size=32, window_size=2)
    TunedEncoder(encoder=swin, tuning=Rein())(torch.zeros(1, 3, 32, 32))


def merged_rein() -> None:
    """It depends on the features."""
    make(Rein())[0].merged_state()


WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: LoRA(rank=0), ValueError, "rank has to be at least 1, alpha above 0"),
    (lambda: SoMA(alpha=-1.0), ValueError, "rank has to be at least 1, alpha above 0"),
    (lambda: Rein(tokens=1), ValueError, "Rein needs at least 2 tokens"),
    (lambda: Rein().queries(), ValueError, "only with query_width set, such as 256"),
    (lambda: make(LoRA(rank=17)), ValueError, "rank=17 does not fit a layer of 16 inputs"),
    (lambda: make(LoRA(targets=["query"])), ValueError, r"is called one of \['query'\]"),
    (lambda: make(SoMA()), ValueError, "from first_block=8 on .* or lower first_block"),
    (lambda: make(None, trainable=["nrm"]), ValueError, "trainable names 'nrm', which is in no"),
    (lambda: TunedEncoder(encoder=Vit(), tuning=nn.ReLU()), TypeError, "LoRA, SoMA or Rein"),
    (merged_rein, ValueError, "Rein cannot be merged"),
    (lambda: LoRA().attach(nn.Linear(2, 2)), ValueError, "no module called `blocks`"),
    (
        lambda: LoRA().attach(timm.create_model("eva02_tiny_patch14_224", depth=1)),
        ValueError,
        r"blocks.0.attn.qkv is computed from its weight alone",
    ),
    (rein_on_swin, ValueError, r"Rein refines tokens \(N, L, 96\) after each block"),
]


@pytest.mark.parametrize(("call", "kind", "message"), WRONG)
def test_peft_errors(call: Any, kind: type[Exception], message: str) -> None:
    """Each is told with what was wanted and what to do."""
    with pytest.raises(kind, match=message):
        call()
