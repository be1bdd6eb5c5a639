"""Train the digit classifier on the images that scikit-learn ships.

Run at build time as ``python train.py SOURCE OUTPUT``; SOURCE is not read. OUTPUT gets
``digits.pickle``, a fitted RandomForestClassifier, and ``digits.json``, how well it does on images
that it has not seen. The same versions always give the same bytes: trees compare and count, and
call no BLAS whose sums depend on the processor.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

SEED = 0
# Below this the training went wrong, and the build should not ship what it made.
LEAST_ACCURACY = 0.95


def main(output: Path) -> None:
    """Train, measure, and write the model into ``output``."""
    # 1,797 images of 8 x 8 grey values from 0 to 16, and the digit that each shows.
    images, digits = load_digits(return_X_y=True)
    seen, unseen, seen_digits, unseen_digits = train_test_split(
        images, digits, test_size=0.25, random_state=SEED, stratify=digits
    )
    model = RandomForestClassifier(n_estimators=60, random_state=SEED, n_jobs=1)
    model.fit(seen, seen_digits)
    accuracy = float(model.score(unseen, unseen_digits))
    if accuracy < LEAST_ACCURACY:
        raise SystemExit(f"the model is right {accuracy:.1%} of the time, too seldom to ship")

    output.mkdir(parents=True, exist_ok=True)
    (output / "digits.pickle").write_bytes(pickle.dumps(model, protocol=5))
    facts = {"accuracy": round(accuracy, 4), "images": len(seen), "seed": SEED}
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    (output / "digits.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[2]))
