"""Train a protein language model: `python train.py model=performer_relu`.

The whole run from top to bottom: compose, build, fit, test, report. Configs are in `conf/`;
`python train.py --help` lists them, and any value can be set on the command line.
"""

from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from protein_performer.data.objectives import check_trunk
from protein_performer.inference.checkpoint import describe
from protein_performer.model.build import build_model
from protein_performer.model.compilation import compile_blocks
from protein_performer.model.config import ModelConfig
from protein_performer.reporting.tables import Metrics
from protein_performer.training.building import build, build_each
from protein_performer.training.folder import BeginRun, opened, public_config
from protein_performer.training.job import command_line, run_job
from protein_performer.training.lightning import close_loggers, quiet_lightning
from protein_performer.training.module import LanguageModel
from protein_performer.training.run import build_trainer, finish, seed_everything
from protein_performer.training.throughput import of_run
from protein_performer.training.warm_start import ValidateFirst, begins_warm, warm_start

# `share_of: [whole, parts, of]`: a share of the steps, in batches where several make one step.
OmegaConf.register_new_resolver("share_of", lambda whole, parts, of=1: max(1, whole // parts) * of)


def train(cfg: DictConfig) -> Metrics:
    """One run, without command line or working-directory tricks, so that a test can call it."""
    quiet_lightning()
    run_dir = Path(cfg.run_dir)
    config = public_config(OmegaConf.to_container(cfg, resolve=True))
    with opened(run_dir, cfg.ckpt_path, config) as start:
        seed_everything(cfg.seed)
        data = build(cfg, "data")
        module = make_module(cfg, config, data)
        loggers = build_each(cfg, "logger")
        callbacks = [*build_each(cfg, "callbacks"), BeginRun(run_dir, config, start.step)]
        callbacks += [ValidateFirst()] if config["init_from"] else []
        trainer = build_trainer(cfg, loggers, callbacks)
        if begins_warm(config, start.checkpoint):
            device = trainer.strategy.root_device
            of_run(trainer).distil_seconds = warm_start(module.model, data, config, device)
        try:
            trainer.fit(module, data, ckpt_path=start.checkpoint)
            return finish(trainer, module, data, run_dir, config)
        finally:
            close_loggers(loggers)


def make_module(
    cfg: DictConfig, config: dict[str, Any], data: pl.LightningDataModule
) -> LanguageModel:
    """The model, with its optimizer and schedule, as the trainer takes it.

    Args:
        cfg: of the run.
        config: the same in plain types, to be stored in each checkpoint.
        data: whose alphabet, objective and test sets the model is for.
    """
    model = build_model(
        ModelConfig.from_plain(config["model"]),
        len(data.alphabet),
        trusted_packages=config["trusted_packages"],
    )
    check_trunk(data.objective, model.causal)
    if config["model"].get("compile"):
        compile_blocks(model)
    counts = data.residue_counts().tolist()
    return LanguageModel(
        model,
        alphabet=data.alphabet,
        make_optimizer=build(cfg, "optimizer"),
        schedule=build(cfg, "schedule"),
        test_names=data.test_names,
        description=describe(config, data.alphabet, data.preprocessing.residue_policy, counts),
    )


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """The command line: a mistake ends in one message, a sweeper gets one number."""
    return run_job(train, cfg)


if __name__ == "__main__":
    command_line(main)
