"""docs/limits.md says of questions what the code does: these numbers are no settings."""

from pathlib import Path

from engine import folding, inverted, lexical, retrieval, search
from engine.store import ann, near
from workers import sweep

LIMITS = Path(__file__).parent.parent / "docs" / "limits.md"


def test_the_limits_of_questions_are_documented_as_they_are() -> None:
    said = " ".join(LIMITS.read_text("utf-8").partition("## Questions")[2].split())
    for figure in (
        f"{lexical.QUESTION_TERMS_MAX} terms",
        f"more than {lexical.STEMMED_CHARACTERS_MAX} characters are not stemmed",
        f"The {lexical.DROPPED_WORDS} commonest function words",
        f"the best {retrieval.CANDIDATES_MIN} passages or twice `top_k`",
        f"{search.WIDER} times as many are looked at, up to {search.CANDIDATES_MAX:,}",
        f"{folding.OVERLAP_MIN:.0%}".replace("%", " %") + " of the shorter one",
        f"walked for {near.WALKED_MAX:,} vectors",
        f"asked for {retrieval.ANN_CANDIDATES_MAX:,} passages at most",
        f"up to {ann.DIMENSIONS_MAX:,} dimensions",
        f"is tried {search.TRIES} times in all",
        f"the first {search.RANK_MAX:,} documents",
        f"at most {inverted.PASSAGES_MAX:,} passages",
    ):
        assert figure in said, figure
    assert retrieval.CANDIDATES_PER_HIT == 2


def test_the_pace_of_a_change_is_documented_as_it_is() -> None:
    said = " ".join(LIMITS.read_text("utf-8").split())
    assert f"At most about {sweep.BATCH_ROWS:,} of its indexes are due at a time" in said
