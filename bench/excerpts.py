"""Questions about one to four neighbouring sentences, in other words than theirs.

Such is a public question set with marked excerpts: an answer may begin in one paragraph and end in
the next, across whatever border passages have, and who asks remembers what it says and not how. As
far as rules can: two of three telling words are left out, the others come in another order, common
words as others that mean the same, and most of the rest in another form. Names stay, as they do in
questions of people. The other kinds of questions: bench/questions.py.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

from bench.manuals import Manual
from bench.questions import Question, chosen, sentences, telling

EXCERPTS_MAX = 300  # more than of other kinds, because this one decides between overlaps
SENTENCES_MAX = 4
KEPT_SHARE = 3  # one of so many telling words
KEPT_WORDS = range(5, 10)
FRAMES = (
    "{}", "What happens to {} with {}?", "How does {} go together with {}?", "I look for {} and {}",
    "Why {} if {}?", "When would {} be {}?", "Is there something on {} for {}?",
)  # fmt: skip
_ALIKE = """
allow permit | create make | delete remove erase | show display | change modify alter
start begin | stop end halt | large big huge | small little | need require | obtain get
help assist | try attempt | keep retain | choose select pick | provide give supply | find locate
fast quick rapid | slow tardy | wrong incorrect | error mistake fault | whole entire complete
several various many | often frequently | usually normally typically | simple easy
hard difficult | number count | method way technique | part piece portion | kind sort
example sample instance | contain hold include | happen occur | build construct | check verify
avoid prevent | important essential crucial | possible feasible | state specify
describe explain | new fresh recent | old former earlier | fail break | finish end
send transmit | receive accept | wait pause | save store | search look | write compose
read peruse | call invoke | run execute | set define | add append insert | increase raise grow
reduce decrease lower | problem issue trouble | result outcome | purpose goal aim
main chief primary | same identical | different distinct | necessary needed | sufficient enough
separate split divide | join combine merge | user person | work function operate | cause reason
effect consequence | rule principle | idea notion | text string | page sheet | document paper
person human | say tell mention | know understand | think believe | buy purchase | car vehicle
house home | money funds | country nation | law statute
"""
# What nobody asks for, beside the stop words that telling() leaves out.
_LITTLE_WORDS = """
again already although always among another because become before behind being below beyond both
cannot come could did done down during either else even every few first further furthermore
generally given going had hence her here him himself his however indeed instead itself just kind
last least let likely little made make many might moreover much must neither never nor note now
often once otherwise over own per perhaps please put quite rather really see shall she since
something sometimes soon still take therefore though three through thus together too toward two
under unless until upon upwards very was way well went were whereas whether whose within without
yet yourself
"""
_LITTLE = frozenset(_LITTLE_WORDS.split())
_GROUPS = [group.split() for line in _ALIKE.splitlines() for group in line.split("|")]
_OTHER = {
    word: group[(place + 1) % len(group)]
    for group in reversed([group for group in _GROUPS if len(group) > 1])
    for place, word in enumerate(group)
}
# From one form of a word to another: the first ending that fits and leaves enough of the word.
_FORMS = (
    ("izations", "izing"), ("ization", "izes"),
    ("ations", "ating"), ("ation", "ated"), ("ments", "ment"), ("ingly", "ing"), ("fully", "ful"),
    ("ities", "ity"), ("ies", "y"), ("sses", "ss"), ("ated", "ating"), ("ates", "ated"),
    ("ting", "ted"), ("ing", "ed"), ("ted", "ting"), ("ied", "ying"), ("ed", "ing"), ("ly", ""),
    ("ss", "ss"), ("us", "us"), ("is", "is"), ("s", ""), ("y", "ies"), ("ch", "ches"), ("", "s"),
)  # fmt: skip
_PLAIN = re.compile(r"[a-z]{3,}")


def by_excerpt(manuals: Sequence[Manual]) -> list[Question]:
    """At most EXCERPTS_MAX, of excerpts that do not overlap."""
    found = [
        Question("excerpt", question, number, start, end)
        for number, manual in enumerate(manuals)
        for start, end in excerpts(manual.document.text)
        if (question := asked_for(manual.document.text[start:end]))
    ]
    return chosen(found, most=EXCERPTS_MAX)


def excerpts(text: str) -> Iterator[tuple[int, int]]:
    """Runs of one to four neighbouring sentences, with nothing but blanks between them."""
    run: list[tuple[int, int]] = []
    for start, end in sentences(text, start=0, end=len(text)):
        wanted = 1 + _digest(text[run[0][0] : run[0][1]])[0] % SENTENCES_MAX if run else 0
        if run and (len(run) == wanted or not text[run[-1][1] : start].isspace()):
            yield run[0][0], run[-1][1]
            run = []
        run.append((start, end))
    if run:
        yield run[0][0], run[-1][1]


def asked_for(answer: str) -> str:
    """A question for it; nothing where it says too little to be asked for."""
    said = dict.fromkeys(word for word in telling(answer) if len(word) > 2)
    words = [word for word in said if word.lower() not in _LITTLE]
    count = min(max(len(words) // KEPT_SHARE, KEPT_WORDS.start), KEPT_WORDS.stop)
    if len(words) < 2 * KEPT_WORDS.start:
        return ""
    # By a hash of word and answer: which ones are left, and in which order, is the same for ever.
    drawn = sorted(words, key=lambda word: _digest(word + answer))[:count]
    changed = [otherwise(word) for word in drawn]
    frame = FRAMES[_digest(answer)[1] % len(FRAMES)]
    if frame.count("{}") == 1:
        return frame.format(" ".join(changed))
    return frame.format(" ".join(changed[: count // 2]), " ".join(changed[count // 2 :]))


def otherwise(word: str) -> str:
    """Another word for it, or another form of it; names and numbers as they are."""
    if not _PLAIN.fullmatch(word):
        return word
    for bare, ending in _bare(word):
        if bare in _OTHER:
            return _OTHER[bare] + ending
    for ending, other in _FORMS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: len(word) - len(ending)] + other
    return word


def _bare(word: str) -> Iterator[tuple[str, str]]:
    yield word, ""
    if word.endswith("s"):
        yield word[:-1], "s"
    if word.endswith("ed"):
        yield from ((word[:-2], ""), (word[:-1], ""))
    if word.endswith("ing"):
        yield from ((word[:-3], ""), (word[:-3] + "e", ""))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
