"""Train a small SentencePiece model in ALBERT's form.

Run at build time as ``python tokeniser.py SOURCE OUTPUT``. SOURCE holds one text file, a sentence
a line; OUTPUT gets ``spiece.model``. The same text always gives the same bytes.
"""

from __future__ import annotations

import io
import sys
import unicodedata
from pathlib import Path

import sentencepiece

PIECES = 500


def main(source: Path, output: Path) -> None:
    """Train on the one ``.txt`` file under ``source`` and write ``output/spiece.model``."""
    (path,) = sorted(source.rglob("*.txt"))
    # Lower case and without accents, as the handler hands texts over.
    text = unicodedata.normalize("NFKD", path.read_text("utf-8")).lower()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        # A file's name would be recorded in the model, and so would the build's folder.
        sentence_iterator=iter(text.splitlines()),
        model_writer=model,
        model_type="unigram",
        vocab_size=PIECES,
        # The first ids of ALBERT's own vocabulary: <pad> 0, <unk> 1, [CLS] 2, [SEP] 3, [MASK] 4.
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        # Sums of float32 depend on who adds them first.
        num_threads=1,
        minloglevel=2,
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "spiece.model").write_bytes(model.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
