"""spaCy's languages: the listed ones stay, and all that kept code imports."""

from __future__ import annotations

import json
from pathlib import Path

from layerpack.passes.spacy_languages import SpacyLanguages
from tests.unit.passes.helpers import Tree, context_in, kept, payload_of, removed

_SPACY: dict[str, str | bytes | Path] = {
    "spacy/__init__.py": "from .registrations import populate",
    "spacy/registrations.py": (
        "def populate():\n"
        "    from .lang.ja import create_tokenizer as create_japanese_tokenizer\n"
        "    from .matcher import x\n"
    ),
    "spacy/util.py": "m = importlib.import_module(f'.lang.{lang}', 'spacy')",
    "spacy/tokenizer.pyx": "from .lang.vi cimport words\n",
    "spacy/lang/__init__.py": "",
    "spacy/lang/punctuation.py": "from .char_classes import x",
    "spacy/lang/char_classes.py": "",
    "spacy/lang/en/__init__.py": "from ..punctuation import x\nfrom ..nb import SYNTAX",
    "spacy/lang/ja/__init__.py": "from .tag_map import x",
    "spacy/lang/ja/tag_map.py": "",
    "spacy/lang/ja/examples.py": '"""\n>>> from spacy.lang.ja.examples import sentences\n"""',
    "spacy/lang/nb/__init__.py": "",
    "spacy/lang/nb/stop_words.py": "",
    "spacy/lang/de/__init__.py": "from ..ja import x",
    "spacy/lang/vi/__init__.py": "",
    "spacy/lang/vi/words.py": "",
}


def _plan(folder: Path, tree: Tree) -> tuple[set[str], dict[str, str]]:
    context = context_in(folder, "spacy-languages: [en]")
    edits = list(SpacyLanguages().plan(payload_of(folder, tree), context))
    return removed(edits), kept(edits)


def test_unlisted_languages_go_and_imported_ones_stay(tmp_path: Path) -> None:
    gone, stays = _plan(tmp_path, {"spacy": _SPACY})
    assert gone == {
        "spacy/lang/de/__init__.py",
        "spacy/lang/ja/examples.py",
        "spacy/lang/nb/stop_words.py",
    }
    assert stays == {
        "spacy/lang/ja/__init__.py": "language 'ja', but spacy/registrations.py imports it",
        "spacy/lang/ja/tag_map.py": "language 'ja', but spacy/lang/ja/__init__.py imports it",
        "spacy/lang/nb/__init__.py": "language 'nb', but spacy/lang/en/__init__.py imports it",
        "spacy/lang/vi/__init__.py": "language 'vi', but spacy/tokenizer.pyx imports it",
        "spacy/lang/vi/words.py": "language 'vi', but spacy/tokenizer.pyx imports it",
    }


def test_another_distribution_may_import_a_language(tmp_path: Path) -> None:
    other = {"textacy.py": "from spacy.lang.de import German"}
    gone, stays = _plan(tmp_path, {"spacy": _SPACY, "textacy": other})
    assert "spacy/lang/de/__init__.py" in stays
    assert "spacy/lang/de/__init__.py" not in gone


def test_a_pipelines_language_stays_whole(tmp_path: Path) -> None:
    meta = json.dumps({"lang": "nb", "name": "core_news_sm", "spacy_version": ">=3.8"})
    model = {"nb_core_news_sm/meta.json": meta}
    gone, stays = _plan(tmp_path, {"spacy": _SPACY, "nb-core-news-sm": model})
    assert "spacy/lang/nb/stop_words.py" not in gone
    assert "the pipeline nb_core_news_sm" in stays["spacy/lang/nb/stop_words.py"].replace(
        "python/", ""
    )


def test_lookup_tables_go_by_language(tmp_path: Path) -> None:
    folder = "spacy_lookups_data/data"
    names = ("en_lemma_lookup.json.gz", "de_lemma_lookup.json.gz", "de_license.txt", "__init__.py")
    files = {f"{folder}/{name}": "" for name in names}
    gone, _ = _plan(tmp_path, {"spacy-lookups-data": files})
    assert gone == {f"{folder}/de_lemma_lookup.json.gz", f"{folder}/de_license.txt"}


def test_it_is_wanted_only_when_languages_are_listed(tmp_path: Path) -> None:
    assert not SpacyLanguages().wanted(context_in(tmp_path / "a").recipe)
    assert SpacyLanguages().wanted(context_in(tmp_path / "b", "spacy-languages: [en]").recipe)
