"""From a text file to tokens: the vocabulary, and the encoded corpus."""

from pathlib import Path

import numpy as np
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from autodelta.backbones.pretrain.plan import SENTINELS, TokenizerPlan

HELD_OUT_SHARE = 0.01


def fit_tokenizer(text: Path, plan: TokenizerPlan, work: Path) -> PreTrainedTokenizerFast:
    """A lower-cased unigram vocabulary with single digits and T5's 100 sentinels, in the layout of T5's own."""
    sample = work / "sample.txt"
    with text.open(encoding="utf8") as source, sample.open("w", encoding="utf8") as out:
        out.write(source.read(plan.sample_bytes))
    sentencepiece.SentencePieceTrainer.train(
        input=str(sample),
        model_prefix=str(work / "unigram"),
        vocab_size=plan.pieces,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc_cf",
        split_digits=True,
        character_coverage=0.9998,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        max_sentence_length=8192,
        num_threads=1,
    )
    rows = [line.rstrip("\n").split("\t") for line in (work / "unigram.vocab").open(encoding="utf8")]
    pieces = [(piece, float(score)) for piece, score in rows]
    pieces += [(f"<extra_id_{n}>", 0.0) for n in reversed(range(SENTINELS))]
    core = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    core.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=[f"<extra_id_{n}>" for n in range(SENTINELS)],
    )


def encode_corpus(text: Path, tokenizer: PreTrainedTokenizerFast, work: Path) -> None:
    """Tokens of all documents, each closed by ``</s>``; the last documents are held out."""
    documents = text.read_text(encoding="utf8").split("\n\n")
    held_out = max(1, round(len(documents) * HELD_OUT_SHARE))
    for name, part in (("train", documents[:-held_out]), ("held_out", documents[-held_out:])):
        with (work / f"{name}.tokens").open("wb") as out:
            for start in range(0, len(part), 512):
                for ids in tokenizer(part[start : start + 512])["input_ids"]:
                    out.write(np.asarray(ids, dtype=np.uint16).tobytes())
