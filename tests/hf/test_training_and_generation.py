"""Exported models under transformers' own `generate` and Trainer."""

import pytest
import torch
import transformers
from exports import attention_of, export
from tiny import RELU
from torch.testing import assert_close

from protein_performer.errors import UserError
from protein_performer.hf.folder_export import tokenizer_of
from protein_performer.hf.running_state import STATE_KEY, RunningState

GREEDY = {"max_new_tokens": 8, "do_sample": False}
STEPPING = ("performer_relu", "performer_softmax", "transformer", "sliding_window")


def load_pretrained(folder, objective):
    causal = objective == "causal"
    auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    return auto.from_pretrained(folder)


def numbers_of(state):
    if isinstance(state, torch.Tensor):
        return state.numel()
    return sum(map(numbers_of, state)) if isinstance(state, tuple) else 0


@pytest.mark.parametrize("name", STEPPING)
@pytest.mark.parametrize("beams", [1, 3])
def test_going_on_from_the_state_is_reading_all_again(tmp_path, name, beams):
    checkpoint, folder = export(tmp_path, "causal", attention_of(name, "causal"))
    model = load_pretrained(folder, "causal")
    batch = tokenizer_of(checkpoint)(["MKTAYIAK", "ACD"], return_tensors="pt", padding=True)
    stepped = model.generate(**batch, **GREEDY, num_beams=beams)
    anew = model.generate(**batch, **GREEDY, num_beams=beams, use_cache=False)
    assert torch.equal(stepped, anew)
    assert stepped.shape[1] > batch.input_ids.shape[1]


def test_a_row_is_generated_as_if_alone(tmp_path):
    checkpoint, folder = export(tmp_path, "causal", RELU)
    model, tokenizer = load_pretrained(folder, "causal"), tokenizer_of(checkpoint)
    alone = model.generate(**tokenizer(["ACD"], return_tensors="pt"), **GREEDY)
    batch = tokenizer(["MKTAYIAK", "ACD"], return_tensors="pt", padding=True)
    both = model.generate(**batch, **GREEDY)
    text = tokenizer.batch_decode(both, skip_special_tokens=True)
    assert text[1] == tokenizer.decode(alone[0], skip_special_tokens=True)


def test_the_state_of_favor_does_not_grow_and_is_not_changed(tmp_path):
    _, folder = export(tmp_path, "causal", RELU)
    model = load_pretrained(folder, "causal")
    tokens = torch.randint(4, 24, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(tokens).logits
        first = model(tokens[:, :5], use_cache=True)
        state = first[STATE_KEY]
        rest = model(tokens[:, 5:], **{STATE_KEY: state})
        again = model(tokens[:, 5:], **{STATE_KEY: state})
    assert isinstance(state, RunningState)
    assert_close(torch.cat([first.logits, rest.logits], 1), whole, rtol=0, atol=1e-5)
    assert_close(again.logits, rest.logits, rtol=0, atol=0)
    assert numbers_of(rest[STATE_KEY].state) == numbers_of(state.state)
    assert (state.get_seq_length(), rest[STATE_KEY].get_seq_length()) == (5, 12)


def test_a_mechanism_without_state_reads_all_again_and_says_so(tmp_path):
    _, folder = export(tmp_path, "causal", attention_of("reformer", "causal"))
    model = load_pretrained(folder, "causal")
    tokens = torch.tensor([[1, 14, 12]])
    assert model.generate(tokens, **GREEDY).shape[1] > 3
    with pytest.raises(UserError, match="Reformer cannot go on"):
        model(tokens, use_cache=True)


def test_what_is_drawn_are_standard_residues(tmp_path):
    _, folder = export(tmp_path, "causal", RELU)
    model = load_pretrained(folder, "causal")
    transformers.set_seed(0)
    new = model.generate(torch.ones(20, 1, dtype=torch.int64), max_new_tokens=20)[:, 1:]
    assert set(new.unique().tolist()) <= {0, 2, *range(4, 24)}
    assert len(new.unique()) > 10


@pytest.mark.filterwarnings("ignore")  # the Trainer's own, of pinned memory and the like
@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_the_trainer_takes_a_step(tmp_path, objective):
    checkpoint, folder = export(tmp_path, objective, RELU)
    model, tokenizer = load_pretrained(folder, objective), tokenizer_of(checkpoint)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    collate = transformers.DataCollatorForLanguageModeling(
        tokenizer, mlm=objective == "mlm", mlm_probability=0.5
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "training"),
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    rows = [dict(tokenizer(text)) for text in ("MKTAYIAK", "ACDEF")]
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collate
    )
    assert trainer.train().training_loss > 0
    trained = {k: v.clone() for k, v in model.state_dict().items()}
    assert not torch.equal(trained["network.embedding.weight"], before["network.embedding.weight"])
    model.save_pretrained(tmp_path / "trained")
    again = load_pretrained(tmp_path / "trained", objective).state_dict()
    assert all(torch.equal(again[name], value) for name, value in trained.items())
    buffers = [name for name in again if name.endswith("mechanism.projection")]
    assert buffers
    assert all(torch.equal(again[name], before[name]) for name in buffers)


def test_losses_are_of_the_right_places(tmp_path):
    tokens = torch.tensor([[1, 14, 12, 20, 4, 5]])
    labels = torch.full_like(tokens, -100)
    labels[0, 2:4] = tokens[0, 2:4]
    for objective, shift in (("mlm", 0), ("causal", 1)):
        _, folder = export(tmp_path / objective, objective, RELU)
        model = load_pretrained(folder, objective)
        out = model(tokens, labels=labels)
        log_p = torch.log_softmax(out.logits[0].double(), -1)
        expected = -(log_p[2 - shift, 12] + log_p[3 - shift, 20]) / 2
        assert_close(out.loss.double(), expected, rtol=0, atol=1e-5)
