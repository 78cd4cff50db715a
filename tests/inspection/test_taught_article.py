"""Which article a frame is of, by its look alone."""

from __future__ import annotations

import numpy as np
import pytest

from edgeleather.bundle.familiarity import familiarity_of
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import ANSWER, APPEARANCE
from edgeleather.inspection.taught_article import ArticleRecognizer

RNG = np.random.default_rng(0)


def looks(middle):
    """The look of an article whose statistics lie around a value."""
    rows = RNG.normal(middle, 0.1, (20, len(APPEARANCE)))
    return familiarity_of(rows.tolist(), RNG.normal(0, 1, (20, len(ANSWER))).tolist(), [str(n) for n in range(20)])


BROWN, BLACK = looks(0.0), looks(1.0)


def look(middle):
    return [middle] * len(APPEARANCE)


def test_the_likeliest_article_is_recognised():
    recognizer = ArticleRecognizer({"brown": BROWN, "black": BLACK}, told=None)
    assert recognizer.of(look(0.05)) == ("brown", None) and recognizer.of(look(0.95)) == ("black", None)


def test_a_wider_article_does_not_take_the_frames_of_a_narrow_one():
    """The spread counts, not the distance alone: a wide article is near to everything."""
    rows = RNG.normal(0.4, 0.6, (40, len(APPEARANCE)))
    wide = familiarity_of(rows.tolist(), RNG.normal(0, 1, (40, len(ANSWER))).tolist(), [str(n) for n in range(40)])
    recognizer = ArticleRecognizer({"wide": wide, "brown": BROWN}, told=None)
    assert recognizer.of(look(0.1)).article == "brown" and recognizer.of(look(1.2)).article == "wide"


def test_a_frame_that_is_clearly_of_another_article_than_told_is_doubted():
    recognizer = ArticleRecognizer({"brown": BROWN, "black": BLACK}, told="brown")
    assert recognizer.of(look(0.05)) == ("brown", None)
    article, doubt = recognizer.of(look(1.0))
    assert article == "brown" and doubt == "it looks like the article black, not like brown"
    assert recognizer.of(look(90.0)).doubt is None  # like none of them: how unlike brown it is will be told
    assert recognizer.of(None) == ("brown", None)


def test_without_a_look_nothing_is_recognised():
    recognizer = ArticleRecognizer({"brown": BROWN, "black": BLACK}, told=None)
    assert "too small to tell its article" in recognizer.of(None).doubt


def test_an_article_of_too_few_pictures_has_to_be_told():
    with pytest.raises(EdgeLeatherError, match="rare was taught with too few good pictures to recognise it"):
        ArticleRecognizer({"brown": BROWN, "rare": None}, told=None)
    assert ArticleRecognizer({"brown": BROWN, "rare": None}, told="rare").of(look(0.0)) == ("rare", None)
