"""No password and no signature of an address is in anything that a run leaves behind."""

from runs import compose_run, write_proteins
from secrets_of import ADDRESS, leaks

from train import train


def test_a_run_stores_none(tmp_path):
    """`tags` stand for any value of the config; a source's address is one more of them."""
    fasta = write_proteins(tmp_path / "data")
    wandb = ("logger=wandb", f"logger.wandb.save_dir={tmp_path / 'logs'}")
    options = (f"tags=['{ADDRESS}']", "trainer.max_steps=2", "callbacks.report=null")
    train(compose_run(tmp_path / "run", fasta, *wandb, *options))
    assert "host/proteins.gz" in (tmp_path / "run" / "config.yaml").read_text()
    assert leaks(tmp_path / "run") == []
