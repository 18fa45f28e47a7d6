"""An alphabet as a fast tokenizer of `transformers`: the same codes, without code of ours."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.byte_alphabet import ByteAlphabet


def make_tokenizer(
    alphabet: Alphabet, policy: ResiduePolicy, *, causal: bool, max_tokens: int | None = None
) -> PreTrainedTokenizerFast:
    """Sequences to `<bos> residues`, with `<eos>` for a masked model, as in training.

    `<mask>` and the other special tokens may stand in the text. A causal model is to go on from
    its input, so `<eos>` is added to text only by whoever trains on it.

    Args:
        alphabet: whose codes these are.
        policy: of characters outside it. `error` stays one (the message is the tokenizers
            library's); `skip` counts as `unknown`, as in `BatchedModel.encode`.
        causal: whether the model is; padding is then on the left, as `generate` wants it.
        max_tokens: of a row; None for no limit.
    """
    tokenizer = _of_bytes() if isinstance(alphabet, ByteAlphabet) else _of_letters(alphabet, policy)
    ends = "" if causal else " <eos>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<bos> $A{ends}",
        special_tokens=[("<bos>", alphabet.bos), ("<eos>", alphabet.eos)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": f"<{name}>" for name in ("pad", "bos", "eos", "mask")},
        padding_side="left" if causal else "right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **({} if max_tokens is None else {"model_max_length": max_tokens}),
    )


def _of_letters(alphabet: Alphabet, policy: ResiduePolicy) -> Tokenizer:
    names = (*alphabet.specials, *alphabet.letters)
    codes = {name: code for code, name in enumerate(names)}
    # Without an unknown token the library raises on what it does not know.
    unknown = {} if policy == "error" else {"unk_token": alphabet.unknown}
    tokenizer = Tokenizer(models.WordLevel(codes, **unknown))
    if alphabet.ignore_case:
        lower = [each for each in alphabet.letters if each.lower() not in alphabet.letters]
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Replace(each.lower(), each) for each in lower]
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _of_bytes() -> Tokenizer:
    """A model of byte pairs without pairs: each byte is a token."""
    alphabet = ByteAlphabet()
    names = (*alphabet.specials, *(_shown(ord(letter)) for letter in alphabet.letters))
    tokenizer = Tokenizer(models.BPE({name: code for code, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _shown(byte: int) -> str:
    """The character that the library has for a byte: GPT-2's table, in which none is blank."""
    blank = [*range(0x21), *range(0x7F, 0xA1), 0xAD]
    return chr(256 + blank.index(byte)) if byte in blank else chr(byte)
