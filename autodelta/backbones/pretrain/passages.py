"""Where the words of text-to-text examples come from: passages of the encoded text, by place or around a word."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

Words = list[str]
END_OF_DOCUMENT = 1
COMMON = 200  # so many of the most frequent pieces are no content words
SENTENCE_ENDS = (".", "!", "?")
LEAST_SIGHTINGS = 20


class Passages:
    """Draws words in a row from an encoded text; a passage never reaches into the next document."""

    def __init__(self, tokens: NDArray[np.uint16], tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokens, self.tokenizer = tokens, tokenizer
        pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
        counts = np.bincount(tokens, minlength=len(pieces))
        self.common = {pieces[n].lstrip("▁") for n in np.argsort(-counts)[:COMMON]}
        self._numbers = {piece: number for number, piece in enumerate(pieces)}
        by_count = (pieces[number] for number in np.argsort(-counts, kind="stable"))
        whole = (piece[1:] for piece in by_count if piece[0] == "▁" and piece[1:].isalpha())
        self.two_frequent = (next(whole), next(whole))
        self._goes_on = np.array([piece[0] != "▁" and piece.isalpha() for piece in pieces])
        self._ends = np.array([piece.lstrip("▁") in SENTENCE_ENDS for piece in pieces])
        self._places: dict[str, NDArray[np.intp]] = {}

    def words(self, rng: np.random.Generator, count: int) -> Words:
        """About so many words in a row."""
        while True:
            start = int(rng.integers(max(1, len(self.tokens) - 2 * count)))
            found = self._decode(self._within_document(self.tokens[start : start + 2 * count]))[1 : count + 1]
            if len(found) >= min(count, 6):
                return found

    def contents(self, words: Sequence[str]) -> Words:
        """The words that say what a passage is about: of letters, four or more, none of the most frequent; else all."""
        distinct = list(dict.fromkeys(words))
        return [word for word in distinct if len(word) > 3 and word.isalpha() and word not in self.common] or distinct

    def seen(self, words: Sequence[str]) -> tuple[str, ...]:
        """Those of the words that are one piece and that the text holds often enough to be asked for."""
        return tuple(word for word in words if len(self.places(word)) >= LEAST_SIGHTINGS)

    def places(self, word: str) -> NDArray[np.intp]:
        """Where the text holds the word, whole; none where the vocabulary cuts it."""
        if word not in self._places:
            number = self._numbers.get(f"▁{word}")
            found = np.flatnonzero(self.tokens[:-1] == number) if number is not None else np.empty(0, np.intp)
            self._places[word] = found[~self._goes_on[self.tokens[found + 1]]]
        return self._places[word]

    def around(self, rng: np.random.Generator, word: str) -> tuple[Words, Words]:
        """What stands before and after the word at one of its places: its sentence, or up to 40 tokens on each side."""
        places = self.places(word)
        at = int(places[rng.integers(len(places))])
        reach = int(rng.integers(6, 41))
        after = self._within_document(self.tokens[at + 1 : at + 1 + reach])
        before = self._within_document(self.tokens[max(0, at - reach) : at][::-1])
        if rng.random() < 0.7:
            after = after[: self._first_end(after) + 1]
            before = before[: self._first_end(before)]
        return self._decode(before[::-1]), self._decode(after)

    def _first_end(self, tokens: NDArray[np.uint16]) -> int:
        ends = np.flatnonzero(self._ends[tokens])
        return int(ends[0]) if len(ends) else len(tokens)

    def _within_document(self, tokens: NDArray[np.uint16]) -> NDArray[np.uint16]:
        ends = np.flatnonzero(tokens == END_OF_DOCUMENT)
        return tokens[: ends[0]] if len(ends) else tokens

    def _decode(self, tokens: NDArray[np.uint16]) -> Words:
        return str(self.tokenizer.decode(tokens.tolist())).split()
