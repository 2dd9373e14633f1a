"""From text to the terms that a search by words matches: stems, parts of identifiers, bigrams.

An analyser is a language and the version of these rules, as one word ("en.1", "none.1"). What was
indexed by one is asked by the same one, so its name is kept beside what it made. Pure: how terms
are weighed is in `inverted`, where they are stored in `store`.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from itertools import chain, zip_longest
from threading import local
from typing import NewType

import Stemmer

from engine.stopwords import FUNCTION_WORDS

Analyser = NewType("Analyser", str)

VERSION = 1  # goes up with every change that makes other terms or weights of the same text
STEMMED_CHARACTERS_MAX = 64  # what is longer is a key, a hash or noise: it has no inflection
QUESTION_TERMS_MAX = 256
SURFACE = "="  # stands in front of a word as it is; no token begins so
DROPPED_WORDS = 8  # of each language's function words, the commonest first
CACHED_TOKENS_MAX = 50_000
SAMPLE_CHARACTERS = 20_000
SURE_SHARE = 0.1  # of all words; in running text a third of them are function words
SURE_WORDS = 3  # different ones: letters that stand alone are words in many languages
NEAR_SHARE = 0.8

# Languages by their tags, as far as there is a stemmer.
STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}

_ALIKE = {"nb": "no", "nn": "no"}

# Scripts without spaces between words, and Hangul, whose particles hang on: pairs of characters.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs and accents of their own, which Python's \w leaves out in the middle of words.
_MARKS = "".join(
    char
    for char in map(chr, range(0x300, 0x10000))
    if unicodedata.category(char) in ("Mn", "Mc") and not re.match(f"[{_UNSPACED}]", char)
)
_WORD = rf"(?:[^\W{_UNSPACED}]++[{_MARKS}]*+)++"
# A name with dots, hyphens and underscores inside is one token; its parts are found within it.
_TOKEN = re.compile(rf"[{_UNSPACED}]++|{_WORD}(?:[.\-]{_WORD})*+")
_TOKEN_ASCII = re.compile(r"\w++(?:[.\-]\w++)*+", re.ASCII)
_UNSPACED_START = re.compile(f"[{_UNSPACED}]")
_JOINERS = re.compile(r"[.\-_]+")
_HUMP = re.compile(r"[a-z][0-9]*[A-Z]|[A-Z]{2}[a-z]{2}")
_HUMPS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_VERSION = re.compile(r"[vV][0-9]")
_DIGIT = re.compile(r"[\d_]")
# What hyphenation and bidirectional text leave inside of words; and the hyphens that are letters.
_INVISIBLE = {0xAD: None, 0x200B: None, 0x200C: None, 0x200D: None, 0x2060: None, 0xFEFF: None}
# Signs that NFKC would make letters of the word before them.
_SIGNS = {0x2120: " ", 0x2122: " "}
_PLAIN = {**_INVISIBLE, **_SIGNS, 0x2010: "-", 0x2011: "-"}
# The number of a note, behind a word; a unit has fewer letters.
_NOTE = re.compile(r"(?<=[^\W\d_]{3})(?=[\u00b9\u00b2\u00b3\u2070\u2074-\u2079])")

_WORDS = re.compile(rf"[^\W\d_{_UNSPACED}]+")
_per_thread = local()


def analyser_of(text: str, *, declared: str | None = None) -> Analyser:
    """Of a document: by the language that its words show, else by the one that it declares."""
    return Analyser(f"{language_of(text, declared=declared) or 'none'}.{VERSION}")


def language_of(text: str, *, declared: str | None = None) -> str | None:
    """The language that a text is written in, as far as we can stem it; None when nothing tells.

    A declaration counts only where the words do not tell: pages are often declared by a template.
    """
    said = (declared or "").replace("_", "-").split("-")[0].strip().lower()
    said = _ALIKE.get(said, said)
    middle = max(0, (len(text) - SAMPLE_CHARACTERS) // 2)
    words = _WORDS.findall(
        text[:SAMPLE_CHARACTERS] + " " + text[middle : middle + SAMPLE_CHARACTERS]
    )
    counts = dict.fromkeys(FUNCTION_WORDS, 0)
    seen: dict[str, set[str]] = {language: set() for language in FUNCTION_WORDS}
    for word in words:
        folded = word.casefold()
        for language in _LANGUAGES.get(folded, ()):
            counts[language] += 1
            seen[language].add(folded)
    # Between neighbours (Danish and Norwegian) what the document says of itself decides.
    best = max(counts, key=lambda language: (counts[language], language == said))
    near = said in counts and counts[said] >= NEAR_SHARE * counts[best]
    if counts[best] >= SURE_SHARE * len(words) and len(seen[best]) >= SURE_WORDS:
        return said if near else best
    return said if said in STEMMERS else None


def terms(text: str, *, analyser: str) -> list[str]:
    """The terms of a text in order, repeated as often as they come."""
    found: list[str] = []
    plain = text if text.isascii() else _plain(text)
    known = _cache(analyser)
    language = analyser.partition(".")[0]
    for token in (_TOKEN_ASCII if plain.isascii() else _TOKEN).findall(plain):
        made = known.get(token)
        if made is None:
            made = _of_token(token, language=language)
            if len(token) <= STEMMED_CHARACTERS_MAX:
                known[token] = made
        found += made
    return found


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", _NOTE.sub(" ", text.translate(_PLAIN)))


def question_terms(question: str, *, analysers: Sequence[str]) -> list[str]:
    """Each term that one of the analysers makes of a question, once; the first 256.

    The analysers in turn: what is too long loses its end in all languages alike, and not the
    languages behind the first one.
    """
    languages = [analyser.partition(".")[0] for analyser in analysers]
    everywhere = frozenset().union(*map(function_terms, languages))
    asked = [
        _asked(question, analyser=analyser, everywhere=everywhere)
        for analyser in sorted(set(analysers))
    ]
    found = dict.fromkeys(chain.from_iterable(zip_longest(*asked)))
    return [term for term in found if term is not None][:QUESTION_TERMS_MAX]


def _asked(question: str, *, analyser: str, everywhere: frozenset[str]) -> list[str]:
    """Without the commonest function words, where any other word is left: they say next to nothing
    by their idf, and stand in so many passages that reading where would take most of a query's
    time. Where no words of a language are known, those of the other ones are as common."""
    made = dict.fromkeys(terms(question, analyser=analyser))
    dropped = function_terms(analyser.partition(".")[0]) or everywhere
    return [term for term in made if term not in dropped] or list(made)


@cache
def function_terms(language: str) -> frozenset[str]:
    """What an analyser makes of the commonest function words of its language."""
    words = FUNCTION_WORDS.get(_ALIKE.get(language, language), "").split()[:DROPPED_WORDS]
    return frozenset(term for word in words for term in _forms(word, language=language))


def term_key(term: str) -> int:
    """What stands for a term in the index: 64 bits, signed as Postgres has them."""
    digest = blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _of_token(token: str, *, language: str) -> list[str]:
    if _UNSPACED_START.match(token):
        return [token[at : at + 2] for at in range(max(1, len(token) - 1))]
    parts = [part for part in _JOINERS.split(token) if part]
    atoms = [atom for part in parts for atom in _humps(part)]
    stems = [term for atom in atoms for term in _forms(_fold(atom), language=language)]
    if len(atoms) == 1 and atoms[0] == token:
        return stems
    # Whole, by what dots separate (a file's name in its path of modules), and in parts.
    bare = token[1:] if _VERSION.match(token) else token
    names = dict.fromkeys((token, bare, *token.split("."), *parts))
    whole = [_fold(name) for name in names if name and name not in atoms]
    return [*(term for name in whole for term in _of_name(name, language=language)), *stems]


def _of_name(name: str, *, language: str) -> list[str]:
    """Who writes a camelCase name small asks for a word, and is to find it."""
    return _forms(name, language=language) if name.isalpha() else [name]


def _humps(part: str) -> list[str]:
    """The words of a camelCase name."""
    return _HUMPS.findall(part) if part.isascii() and _HUMP.search(part) else [part]


def _fold(token: str) -> str:
    folded = token.casefold()
    # The capital of a Turkish i is two characters when it is small.
    return (
        folded
        if folded.isascii()
        else unicodedata.normalize("NFKC", folded.replace("i\u0307", "i"))
    )


def _forms(word: str, *, language: str) -> list[str]:
    """The stem, and where that is another the word as it stands: who asks in the words of a text
    finds it before those that only have their relatives."""
    stem = _stem(word, language=language)
    return [stem] if stem == word else [stem, SURFACE + word]


def _stem(word: str, *, language: str) -> str:
    name = STEMMERS.get(language)
    if name is None or len(word) > STEMMED_CHARACTERS_MAX or _DIGIT.search(word):
        return word
    return str(_stemmer(name).stemWord(word)) or word


def _stemmer(name: str) -> Stemmer.Stemmer:
    """One for each thread: a stemmer keeps its word in itself while it works."""
    made: dict[str, Stemmer.Stemmer] = _per_thread.__dict__.setdefault("stemmers", {})
    if name not in made:
        made[name] = Stemmer.Stemmer(name)
    return made[name]


def _cache(analyser: str) -> dict[str, list[str]]:
    """Tokens that were taken apart already; forgotten all at once when there are too many."""
    caches: dict[str, dict[str, list[str]]] = _per_thread.__dict__.setdefault("tokens", {})
    known = caches.setdefault(analyser, {})
    if len(known) >= CACHED_TOKENS_MAX:
        known.clear()
    return known


def _by_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, words in FUNCTION_WORDS.items():
        for word in words.split():
            found[word] = (*found.get(word, ()), language)
    return found


_LANGUAGES = _by_word()
