"""Every config composes, builds, and (models) learns what is easy to learn."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from runs import ROOT

import train  # noqa: F401  (registers the resolver that the trainer's config uses)
from protein_performer.errors import UserError
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig

CONF = ROOT / "conf"
# FAVOR++ needs a number for what it would otherwise measure on the whole sequence.
REFUSED_CAUSALLY = {"linformer", "linformer_random", "performer_favor_plus_plus"}


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def compose_config(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["run_dir=here", "logger=csv", *overrides])
    return OmegaConf.to_container(cfg, resolve=True)


def learn(model, causal, steps=30):
    """Loss before and after learning that the sequence repeats a fixed word of five letters."""
    torch.manual_seed(0)
    word = torch.tensor([5, 9, 17, 6, 21])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    losses = []
    for _ in range(steps):
        start = torch.randint(5, (8,))
        tokens = word[(start[:, None] + torch.arange(20)) % 5]
        inputs = tokens.clone()
        if causal:
            inputs, targets = tokens[:, :-1], tokens[:, 1:]
            logits = model(inputs)[:, 4:].flatten(0, 1)  # a start is known after a few letters
            targets = targets[:, 4:].flatten()
        else:
            hidden = torch.rand(8, 20) < 0.3
            inputs[hidden] = 3
            logits, targets = model(inputs)[hidden], tokens[hidden]
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], sum(losses[-5:]) / 5


@pytest.mark.parametrize("name", names("model"))
@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_every_model_builds_and_learns(name, objective):
    causal = objective == "causal"
    options = [
        "size=tiny",
        f"model={name}",
        f"objective={objective}",
        "model.d_ff=32",
        "model.d_model=32",
    ]
    config = compose_config(*options)["model"]
    assert config["name"] == name
    assert config["causal"] is causal
    if causal and name in REFUSED_CAUSALLY:
        with pytest.raises(UserError, match="causal"):
            build_model(ModelConfig.from_plain(config), 30)
        return
    torch.manual_seed(0)
    model = build_model(ModelConfig.from_plain(config), 30)
    assert len({id(mechanism) for mechanism in model.mechanisms}) == 2
    first, last = learn(model, causal)
    # `values` mixes nothing: it can only learn the five letters' frequencies.
    bound = 0.8 if name == "values" and not causal else 0.6
    assert last < bound * first


@pytest.mark.parametrize("name", names("size"))
def test_every_size_is_what_it_says(name):
    config = compose_config(f"size={name}", "model=transformer")["model"]
    with torch.device("meta"):
        model = build_model(ModelConfig.from_plain(config), 30)
    assert len(model.mechanisms) == config["num_layers"]
    if name == "paper":  # section 4.3: (heads, layers, d_ff, d) = (8, 36, 1024, 512)
        shape = [config[key] for key in ("num_heads", "num_layers", "d_ff", "d_model")]
        assert shape == [8, 36, 1024, 512]


@pytest.mark.parametrize("name", names("optimizer"))
def test_every_optimizer_takes_every_parameter_once(name):
    config = compose_config(f"optimizer={name}", "size=tiny")
    model = build_model(ModelConfig.from_plain(config["model"]), 30)
    optimizer = instantiate(config["optimizer"])(model)
    taken = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())
    decays = {g["weight_decay"] for g in optimizer.param_groups}
    assert decays == ({0.1} if name == "paper" else {0.1, 0.0})


@pytest.mark.parametrize("name", names("schedule"))
def test_every_schedule_is_a_finite_factor_of_the_step(name):
    factor = instantiate(compose_config(f"schedule={name}")["schedule"])
    assert all(0 <= factor(step) <= 1 for step in range(0, 1000, 7))
    assert max(factor(step) for step in range(10_000)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "group", ["data", "objective", "trainer", "logger", "callbacks", "experiment"]
)
def test_every_other_config_composes(group):
    for name in names(group):
        assert compose_config(f"{group}={name}")


def test_a_sweep_can_be_slurm_jobs_with_a_task_for_each_rank():
    """The options are checked by the launcher's own schema as they are composed."""
    options = ["hydra/launcher=slurm", "trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [*options, "hydra.launcher.partition=gpu"], return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (2, 4, 4)
    assert launcher.partition == "gpu"


def test_the_names_that_others_build_on():
    config = compose_config(
        "model=performer_softmax",
        "objective=causal",
        "size=tiny",
        "data=sample",
        "seed=3",
        "trainer.max_steps=5",
        "trainer.max_time=00:00:01:00",
        "callbacks.checkpoint.every_n_train_steps=2",
        "ckpt_path=last",
    )
    assert config["model"]["seed"] == config["data"]["seed"] == 3
    assert config["model"]["causal"] is True
    assert Path(config["callbacks"]["checkpoint"]["path"]).name == "last.ckpt"
