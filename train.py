"""Train a protein language model: `python train.py model=performer_relu`.

The whole run from top to bottom: compose, build, fit, test, report. Configs are in `conf/`;
`python train.py --help` lists them, and any value can be set on the command line.
"""

import sys
from pathlib import Path

import hydra
import pytorch_lightning as pl
import wandb
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from protein_performer.data.objectives import check_trunk
from protein_performer.errors import UserError
from protein_performer.inference.checkpoint import describe
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig
from protein_performer.reporting.tables import Metrics
from protein_performer.training.lightning import quiet_lightning
from protein_performer.training.module import LanguageModel
from protein_performer.training.run import check_multirun, finish, resume_from

OmegaConf.register_new_resolver("share_of", lambda total, parts: max(1, total // parts))


def train(cfg: DictConfig) -> Metrics:
    """One run, without command line or working-directory tricks, so that a test can call it."""
    quiet_lightning()
    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, run_dir / "config.yaml", resolve=True)
    config = OmegaConf.to_container(cfg, resolve=True)
    checkpoint = resume_from(cfg.ckpt_path, run_dir)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)

    data = instantiate(cfg.data)
    model = build_model(
        ModelConfig.from_plain(config["model"]),
        len(data.alphabet),
        trusted_packages=config["trusted_packages"],
    )
    check_trunk(data.objective, model.causal)
    counts = data.residue_counts().tolist()
    module = LanguageModel(
        model,
        alphabet=data.alphabet,
        make_optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        test_names=data.test_names,
        description=describe(config, data.alphabet, data.preprocessing.residue_policy, counts),
    )
    loggers = _instantiate_each(cfg.logger)
    callbacks = _instantiate_each(cfg.callbacks)
    trainer: pl.Trainer = instantiate(cfg.trainer, logger=loggers, callbacks=callbacks)
    for logger in loggers:
        logger.log_hyperparams(config)
    try:
        trainer.fit(module, data, ckpt_path=checkpoint)
        return finish(trainer, module, data, run_dir, config)
    finally:
        wandb.finish()  # else the next job of a multirun would write into this run


def _instantiate_each(group: DictConfig) -> list:
    return [
        instantiate(value)
        for value in group.values()
        if OmegaConf.is_dict(value) and "_target_" in value
    ]


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """The command line: a user's mistake ends in one message, a sweeper gets one number."""
    hydra_config = HydraConfig.get()
    try:
        if hydra_config.mode == RunMode.MULTIRUN:
            quiet_lightning()
            cfg.group = Path(hydra_config.sweep.dir).name
            check_multirun(instantiate(cfg.trainer, logger=False))
        return float(train(cfg)["val/perplexity"])
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
