"""The plain words of a text in one of OpenSearch's two query languages: what a shopper typed, without the operators."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, get_args

QueryLanguage: TypeAlias = Literal["query_string", "simple_query_string"]
QUERY_LANGUAGES: tuple[str, ...] = get_args(QueryLanguage)

# The kinds of token: an operand (phrase or word) counts unless the token before it is a field or excludes it.
_TOKENS_BY_LANGUAGE = {
    "query_string": re.compile(
        r"""
        "(?P<phrase>(?:\\.|[^"\\])*)"(?:~[\d.]*)?(?:\^[\d.]+)?   # a phrase, with slop and boost
        | (?P<pattern>/(?:\\.|[^/\\])*/ | [\[{][^\]}]*[\]}])(?:\^[\d.]+)?   # a regular expression, or a range
        | (?P<open>\() | (?P<close>\)(?:\^[\d.]+)?)
        | (?P<excludes>NOT(?=[\s(]) | [-!](?=\S))                 # before a space, `-` is a word without letters
        | (?P<joins>(?:AND|OR|&&|\|\|)(?=[\s()]|$) | [-+!](?=\s|$) | \+)
        | (?P<field>(?:\\.|[^\\\s()"\[\]{}:^~])+\s*:)
        | (?P<word>(?:\\.|[^\\\s()"\[\]{}:^~])+)(?:~[\d.]*)?(?:\^[\d.]+)?
        """,
        re.VERBOSE,
    ),
    "simple_query_string": re.compile(
        r"""
        "(?P<phrase>(?:\\.|[^"\\])*)"(?:~\d*)?
        | (?P<open>\() | (?P<close>\))
        | (?P<excludes>-)
        | (?P<joins>[+|])
        | (?P<word>(?:\\.|[^\\\s()"|+~])+)(?:~\d*)?
        """,
        re.VERBOSE,
    ),
}
_WILDCARD_BY_LANGUAGE = {
    "query_string": re.compile(r"(?<!\\)[*?]"),
    "simple_query_string": re.compile(r"(?<!\\)\*$"),
}


def plain_words(text: str, language: str) -> str:
    """The words of a text that a query language searches for as they are, joined by a space.

    Left out are what is excluded (`-case`, `NOT case`), what belongs to a field (`brand:acme`), wildcards, ranges,
    regular expressions, and the operators themselves. Words in quotes count.
    """
    words: list[str] = []
    excluded = [False]  # of the text, and of each group that is open
    excludes_next = False
    for token in _TOKENS_BY_LANGUAGE[language].finditer(text):
        kind = token.lastgroup
        if kind in ("excludes", "field"):
            excludes_next = True
        elif kind == "open":
            excluded.append(excluded[-1] or excludes_next)
            excludes_next = False
        elif kind == "close" and len(excluded) > 1:
            excluded.pop()
        elif kind in ("phrase", "word", "pattern"):
            operand = token.group(kind)
            is_plain = kind == "phrase" or (kind == "word" and not _WILDCARD_BY_LANGUAGE[language].search(operand))
            if is_plain and not excluded[-1] and not excludes_next:
                words += re.sub(r"\\(.)", r"\1", operand).split()
            excludes_next = False
    return " ".join(words)
