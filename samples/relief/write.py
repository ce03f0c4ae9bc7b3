"""Writes the text that the sample language model learns from: passages, questions, answers.

    python samples/relief/write.py --count 3 --seed 7

Every name is made of random syllables and every number is random, so nothing can be learnt by heart:
the only way to a right answer is to find the fact in the passages and to copy it. Passages mix facts
of one kind about several places, and several facts about one place, because that is what has to be
told apart. Some questions ask for what no passage says.
"""

from __future__ import annotations

import argparse
import random
import re
from dataclasses import dataclass, field

from facts import FILLERS, KINDS, SITES, SUFFIXES, WORDS
from prompt import UNKNOWN, prompt

# Syllables of names, between spaces.
_HEADS = "b br c ch d dr f fl g gr h k kr l m n p pr r s sh st t th tr v w wh y z"
_MIDDLES = "a e i o u a e i o ai ea oo ei ou"
_TAILS = "l n r s t m ck nd rn ll rk th sh x d v lm st"
_ENDS = "ow en er ton wick ford ham ley by field stead mere well a o ard in ock is une"
_SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Turn:
    """A question, its only right answer, and the number of the source it is from (0: none)."""

    question: str
    answer: str
    source: int


@dataclass(frozen=True)
class Site:
    noun: str
    link: str
    place: str

    def __str__(self) -> str:
        return f"the {self.noun} {self.link} {self.place}"

    def other(self) -> str:
        """What people may call it when they ask."""
        return f"the {self.place.removeprefix('the ')} {self.noun}"


@dataclass(frozen=True)
class Fact:
    kind: int
    slots: dict[str, object]

    def say(self, rng: random.Random) -> str:
        return capital(rng.choice(KINDS[self.kind][0]).format(**self.slots))

    def keys(self) -> set[str]:
        """All questions it answers; the kinds about opening hours answer each other's in part."""
        kinds = (0, 1, 2) if self.kind in (0, 1, 2) else (self.kind,)
        asks = [ask for kind in kinds for asked, _ in KINDS[kind][1] for ask in asked]
        return {ask.format(**self.slots) for ask in asks}


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def name(rng: random.Random) -> str:
    def one(parts: str) -> str:
        return rng.choice(parts.split())

    text = (one(_HEADS) if rng.random() < 0.85 else "") + one(_MIDDLES)
    if rng.random() < 0.7:
        text += one(_TAILS)
    if rng.random() < 0.25:
        text += one(_HEADS) + one(_MIDDLES)
    return capital(text + one(_ENDS) if rng.random() < 0.75 else text)


def number(rng: random.Random) -> int:
    few, some, many = rng.randint(2, 9), rng.randint(10, 99), rng.randint(100, 999)
    return rng.choice((few, few, few, some, some, 5 * some, 10 * few, 10 * some, many))


def clock(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.choice(('00', '00', '30', '15', '45'))}"


def place(rng: random.Random) -> str:
    text = name(rng)
    if rng.random() < 0.12:
        text = f"{rng.choice(('Upper', 'Lower', 'Old', 'New', 'North', 'South', 'East', 'West'))} {text}"
    chance = rng.random()
    if chance < 0.5:
        return f"{text} {rng.choice(SUFFIXES)}"
    return f"the {text} {rng.choice(('bridge', 'weir', 'dam', 'quarry', 'crossing'))}" if chance < 0.6 else text


@dataclass
class World:
    """The places of one set of passages, and what has been said about them."""

    rng: random.Random
    asked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        rng = self.rng
        self.places = [place(rng) for _ in range(rng.randint(2, 5))]
        nouns = [self.noun() for _ in range(rng.randint(1, 3))]
        links = [rng.choice(("at", "at", "at", "in", "near")) for _ in nouns]
        self.sites = [Site(rng.choice(nouns), rng.choice(links), rng.choice(self.places)) for _ in range(4)]
        self.kinds = [rng.randrange(len(KINDS)) for _ in range(rng.randint(1, 3))]

    def noun(self) -> str:
        return name(self.rng).lower() if self.rng.random() < 0.08 else self.rng.choice(SITES)

    def fact(self, kind: int | None = None, site: Site | None = None) -> Fact:
        """A fact that no question asked so far fits; it is remembered."""
        rng = self.rng
        while True:
            chosen = kind
            if chosen is None:
                chosen = rng.choice(self.kinds) if rng.random() < 0.7 else rng.randrange(len(KINDS))
            fact = Fact(chosen, {})
            texts = " ".join((*KINDS[chosen][0], *(a for _, a in KINDS[chosen][1])))
            for slot in _SLOT.findall(texts):
                if slot not in fact.slots:
                    fact.slots[slot] = site if slot == "s" and site else self.fill(slot)
            if fact.slots.get("p", 1) != fact.slots.get("o", 2) and not fact.keys() & self.asked:
                self.asked |= fact.keys()
                return fact
            kind = None

    def fill(self, slot: str) -> object:
        rng = self.rng
        if slot == "s":
            fresh = Site(self.noun(), "at", rng.choice((place(rng), *self.places)))
            return rng.choice(self.sites) if rng.random() < 0.75 else fresh
        if slot in "po":
            return rng.choice(self.places) if rng.random() < 0.6 else place(rng)
        if slot in "tu":
            return clock(rng)
        if slot in "nm":
            return number(rng)
        if slot == "y":
            return name(rng)
        if slot == "x":
            return rng.choice(("", "", "", "Dr ")) + f"{name(rng)} {name(rng)}"
        if slot == "c":
            return rng.randint(1, 40)
        if slot == "f":
            return f"{rng.randint(87, 107)}.{rng.randint(0, 9)}"
        if slot == "phone":
            first, last = rng.randint(100, 999), rng.randint(0, 9999)
            return rng.choice((f"{first} {last:04}", f"{last:04}", f"{first}"))
        if slot == "road":
            numbered = f"road {rng.choice('ABCDEFKLMNRST')}{rng.randint(1, 99)}"
            return rng.choice(
                (numbered, numbered, f"the {name(rng)} {rng.choice(('road', 'pass', 'tunnel', 'track'))}")
            )
        return rng.choice(WORDS[slot])


def ask(rng: random.Random, fact: Fact, source: int, nouns: list[str]) -> Turn:
    """A question about a fact; a site may be called by another name, or by its noun if that is clear."""
    asks, answer = rng.choice(KINDS[fact.kind][1])
    slots = dict(fact.slots)
    site = slots.get("s")
    if isinstance(site, Site):
        chance = rng.random()
        if chance < 0.2:
            slots["s"] = site.other()
        elif chance < 0.4 and nouns.count(site.noun) == 1 and source:
            slots["s"] = f"the {site.noun}"
    question = capital(rng.choice(asks).format(**slots))
    if rng.random() < 0.05:
        question = question[:1].lower() + question[1:]
    if not source:
        return Turn(question, UNKNOWN, 0)
    return Turn(question, f"{capital(answer.format(**fact.slots))} [{source}].", source)


def passages(rng: random.Random, sources: int, facts: int) -> tuple[list[str], list[Turn]]:
    """The texts of some sources, and questions about them in random order, ever more if asked for."""
    world = World(rng)
    texts: list[str] = []
    told: list[tuple[int, Fact]] = []
    for source in range(1, sources + 1):
        sentences: list[str] = []
        topic = rng.choice(world.sites) if rng.random() < 0.5 else None
        before: object = None
        for _ in range(max(1, facts + rng.randint(-1, 1))):
            fact = world.fact(site=topic)
            told.append((source, fact))
            text, site = fact.say(rng), fact.slots.get("s")
            if site and site == before and text.startswith(capital(str(site))) and rng.random() < 0.4:
                text = "It" + text[len(str(site)) :]
            before = site
            sentences.append(text)
            if rng.random() < 0.12:
                sentences.append(rng.choice(FILLERS))
        title = f"{capital(str(topic or rng.choice(world.places)))}: " if rng.random() < 0.5 else ""
        texts.append(title + " ".join(sentences))
    sites = {str(s): s for _, f in told if isinstance(s := f.slots.get("s"), Site)}
    nouns = [site.noun for site in sites.values()]
    turns = [ask(rng, fact, source, nouns) for source, fact in told]
    for _ in range(max(1, len(told) // 5)):
        turns.append(ask(rng, world.fact(), 0, nouns))
    turns += [ask(rng, fact, source, nouns) for source, fact in told]
    rng.shuffle(turns)
    return texts, turns


def main() -> None:
    parser = argparse.ArgumentParser(description="Show what the model learns from.")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    for _ in range(options.count):
        texts, turns = passages(rng, rng.randint(1, 3), rng.randint(1, 4))
        print(prompt(texts, turns[0].question), turns[0].answer, sep="\n")
        for turn in turns[1:]:
            print(turn.question, turn.answer, sep="\n")
        print()


if __name__ == "__main__":
    main()
