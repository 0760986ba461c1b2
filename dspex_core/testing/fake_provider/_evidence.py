import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from dspex_core.testing.fake_provider._words import words

_CLAUSE = re.compile(r"[\n;]+|(?<=[.!?])\s")


class DemoIndex:
    """TF-IDF vectors of a prompt's demos, inverted, so that a query meets only the demos that share a word with it.

    The idf counts the demos of this one prompt; a word that none of them has weighs most, and so makes the query less
    like all of them.

    Args:
        texts: The concatenated inputs of each demo.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        frequency = Counter(word for count in counts for word in count)
        self._size = len(texts)
        self._idf = {word: math.log((self._size + 1) / (seen + 0.5)) for word, seen in frequency.items()}
        self._unseen_idf = math.log((self._size + 1) / 0.5)
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, count in enumerate(counts):
            weights = self._weights(count)
            norm = _norm(weights.values())
            for word, weight in weights.items():
                self._postings[word].append((number, weight / norm))

    def similarities(self, query: str) -> list[float]:
        """The cosine of the query with each demo, 0 to 1, in the demos' order."""
        weights = self._weights(Counter(words(query)))
        norm = _norm(weights.values())
        found = [0.0] * self._size
        for word, weight in weights.items():
            for number, posted in self._postings.get(word, ()):
                found[number] += weight * posted / norm
        return found

    def shared(self, number: int, query: str) -> dict[str, float]:
        """The query's words that demo `number` has too, with what each adds to their likeness."""
        asked = dict.fromkeys(words(query))
        return {
            word: self._idf[word] * posted
            for word in asked
            for holder, posted in self._postings.get(word, ())
            if holder == number
        }

    def _weights(self, count: Counter[str]) -> dict[str, float]:
        idf, unseen = self._idf, self._unseen_idf
        return {word: (1 + math.log(times)) * idf.get(word, unseen) for word, times in count.items()}


class LabelHints:
    """What a prompt says about its labels outside its demos: the words of their names, and those written near them.

    A word counts the more, the fewer labels it goes with.

    Args:
        labels: The values that a field may take.
        guidance: The instruction and the field's description.
    """

    def __init__(self, labels: Sequence[str], guidance: str) -> None:
        # Dictionaries, not sets: sums of floats would come out differently under another PYTHONHASHSEED.
        named = [dict.fromkeys(words(label)) for label in labels]
        nearby = [near - name.keys() for near, name in zip(_words_near(labels, guidance), named, strict=True)]
        self._named = _telling(named)
        self._nearby = _telling(nearby)
        self._name_mass = [sum(self._named[word][number] for word in name) or 1.0 for number, name in enumerate(named)]
        self._size = len(labels)

    def named(self, query: str) -> list[float]:
        """For each label, the share of its name that the query says, 0 to 1."""
        return [mass / whole for mass, whole in zip(self._mass(self._named, query), self._name_mass, strict=True)]

    def nearby(self, query: str) -> list[float]:
        """For each label, how much of the query is written near it in the guidance, 0 to 1."""
        return [mass / (mass + 1.0) for mass in self._mass(self._nearby, query)]

    def shared(self, number: int, query: str) -> dict[str, float]:
        """The query's words that speak for label `number`, with the weight of each."""
        sources = (self._named, self._nearby)
        return {
            word: sum(source[word].get(number, 0.0) for source in sources if word in source)
            for word in dict.fromkeys(words(query))
            if any(number in source.get(word, {}) for source in sources)
        }

    def _mass(self, source: dict[str, dict[int, float]], query: str) -> list[float]:
        found = [0.0] * self._size
        for word in dict.fromkeys(words(query)):
            for number, weight in source.get(word, {}).items():
                found[number] += weight
        return found


def _telling(bags: Sequence[Iterable[str]]) -> dict[str, dict[int, float]]:
    """For each word, the bags that hold it, and how well it tells them apart."""
    holders: dict[str, list[int]] = defaultdict(list)
    for number, bag in enumerate(bags):
        for word in bag:
            holders[word].append(number)
    scale = math.log(len(bags) + 1) if bags else 1.0
    return {
        word: dict.fromkeys(numbers, math.log((len(bags) + 1) / len(numbers)) / scale)
        for word, numbers in holders.items()
    }


def _words_near(labels: Sequence[str], guidance: str) -> list[set[str]]:
    """Give every word of a clause that mentions labels to the label mentioned nearest to it."""
    near: list[set[str]] = [set() for _ in labels]
    mention = _mention_pattern(labels)
    numbers = {_plain(label): number for number, label in enumerate(labels)}
    for clause in _CLAUSE.split(guidance):
        mentions = [(match.start(), match.end(), _plain(match.group())) for match in mention.finditer(clause)]
        marks = [(start, end, numbers[name]) for start, end, name in mentions if name in numbers]
        if not marks:
            continue
        for word in re.finditer(r"[^\W_]+", clause):
            *_, owner = min((max(start - word.end(), word.start() - end), number) for start, end, number in marks)
            near[owner].update(words(word.group()))
    return near


def _mention_pattern(labels: Sequence[str]) -> re.Pattern[str]:
    spellings = sorted((_plain(label) for label in labels if _plain(label)), key=len, reverse=True)
    alternatives = "|".join(re.escape(spelling).replace(r"\ ", r"[\s_-]+") for spelling in spellings)
    return re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])" if alternatives else r"(?!)", re.IGNORECASE)


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", label).strip().lower()


def _norm(weights: Iterable[float]) -> float:
    return math.sqrt(sum(weight * weight for weight in weights)) or 1.0
