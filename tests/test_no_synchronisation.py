"""The host never waits for an accelerator within a training step: it only queues work.

On the meta device nothing is computed, so whatever asks for a value, or for a shape that depends on
values (`.item()`, `if tensor`, boolean indexing), is an error there; and it is no CPU, so that
mechanisms take the form that they have on an accelerator.
"""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from tiny import tiny_config

from protein_performer.batch import IGNORE, Batch
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig
from protein_performer.training.optim import adamw, muon

MODELS = sorted(path.stem for path in Path("conf/model").glob("*.yaml"))
CASES = [
    (name, objective)
    for name in MODELS
    for objective in ("mlm", "causal")
    if not (name.startswith("linformer") and objective == "causal")
]
OPTIONS = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-9, "weight_decay": 0.1}


@pytest.fixture(autouse=True)
def meta_without_autocast(monkeypatch):
    """Autocast knows no meta device; elsewhere it asks for no value either."""
    monkeypatch.setattr(torch, "autocast", lambda device, **options: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)


def meta_model(name, objective):
    text = Path(f"conf/model/{name}.yaml").read_text().replace("${model.num_features}", "16")
    attention = yaml.safe_load(text)["attention"]
    if name == "performer_favor_plus_plus" and objective == "causal":
        attention["spread"] = 4.0
    config = tiny_config(objective, attention, convolution=5)["model"]
    return build_model(ModelConfig.from_plain(config), 30).to("meta")


def meta_batch():
    codes = torch.empty(2, 40, dtype=torch.int64, device="meta")
    mask = torch.empty(2, 40, dtype=torch.bool, device="meta")
    return Batch(codes, codes, mask, codes[:, 0])


def step(model, optimizer, batch):
    logits, targets = model.scored_logits(batch)
    nll = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
    (nll / (targets != IGNORE).sum().clamp_min(1)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_a_training_step_asks_for_no_value(name, objective):
    model = meta_model(name, objective)
    step(model, muon(model, **OPTIONS, momentum=0.9), meta_batch())
    assert all(p.grad is not None for p in model.blocks.parameters())


def test_nor_does_adamw():
    model = meta_model("performer_relu", "mlm")
    step(model, adamw(model, **OPTIONS, decay="matrices"), meta_batch())


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.cpu(),
    ],
)
def test_the_test_sees_who_asks(ask):
    with pytest.raises((RuntimeError, NotImplementedError)):
        ask(torch.empty(5, device="meta"))


def test_all_positions_beside_the_cpu_give_the_loss_of_the_scored_ones():
    torch.manual_seed(0)
    model = build_model(ModelConfig.from_plain(tiny_config()["model"]), 30)
    tokens = torch.randint(4, 24, (2, 20))
    targets = torch.where(torch.rand(2, 20) < 0.3, tokens, IGNORE)
    batch = Batch(tokens, targets, torch.ones_like(tokens, dtype=torch.bool), tokens[:, 0])
    of_scored = torch.nn.functional.cross_entropy(*model.scored_logits(batch))
    of_all = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(of_all, of_scored)
