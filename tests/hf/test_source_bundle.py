"""The source that stands in an exported folder: enough to load it where this package is not."""

import ast
import os
import subprocess
import sys

import pytest
import torch
from exports import EVERY, attention_of, export, padded

from protein_performer.hf.source_bundle import bundled_sources

# What a stranger's program does. The package is made impossible to import first.
STRANGER = """
import sys
from pathlib import Path

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "protein_performer":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refusing())
import torch
import transformers

top = Path(sys.argv[1])
for folder in sorted(top.glob("*/exported")):
    causal = folder.parent.name.endswith("causal")
    auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    model = auto.from_pretrained(folder, trust_remote_code=True)
    tokens, mask, expected = torch.load(folder.parent / "expected.pt")
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=mask).logits
    torch.testing.assert_close(logits[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    assert tokenizer("MKT").input_ids[:4] == [1, 14, 12, 20]
    if folder.parent.name.startswith("performer_relu-"):
        trunk = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
        assert trunk(tokens, mask).last_hidden_state.shape == (2, 9, 16)
        if causal:
            new = model.generate(tokens, attention_mask=mask, max_new_tokens=3, do_sample=False)
            assert torch.equal(new[:, :9], tokens)
        model.save_pretrained(folder.parent / "saved")
        saved = auto.from_pretrained(folder.parent / "saved", trust_remote_code=True)
        with torch.no_grad():
            again = saved(input_ids=tokens, attention_mask=mask).logits
        torch.testing.assert_close(again, logits, rtol=0, atol=0)
    print(folder.parent.name)
assert not any(name.partition(".")[0] == "protein_performer" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every mechanism in both directions, with logits of padded rows."""
    top = tmp_path_factory.mktemp("exported")
    tokens, mask = padded("left")
    for name, objective in EVERY:
        place = top / f"{name}-{objective}"
        checkpoint, _ = export(place, objective, attention_of(name, objective))
        with torch.no_grad():
            logits = checkpoint.model(tokens, mask.bool())
        torch.save((tokens, mask, logits), place / "expected.pt")
    return top


def test_a_stranger_loads_every_mechanism_without_the_package(exported, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    environment |= {"HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(exported)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(f"{name}-{objective}" for name, objective in EVERY)


def test_it_imports_torch_numpy_and_transformers_only():
    sources = bundled_sources()
    allowed = {"torch", "numpy", "transformers", *sys.stdlib_module_names}
    for name, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module.partition(".")[0] in allowed, name
            elif isinstance(node, ast.ImportFrom):
                named = [node.module] if node.module else [each.name for each in node.names]
                assert {f"{each}.py" for each in named} <= set(sources), name
    assert len(sources) > 30
