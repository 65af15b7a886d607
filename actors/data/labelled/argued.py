"""Labelled questions that are argued."""

import random

from actors.data.labelled.draft import NAMES, Draft


def bottle(rng: random.Random) -> Draft:
    thing = rng.choice(("bottle", "jar", "flask"))
    good = (
        f"In the freezer the water in the {thing} turns to ice",
        "Ice takes up more room than the water it came from",
        f"The full {thing} has no room to spare, so the glass breaks",
    )
    return Draft(
        f"A glass {thing} full of water is left in the freezer overnight. Does the {thing} break, "
        "yes or no?",
        (
            f"The water in the {thing} freezes to ice.",
            "Ice needs more room than water.",
            f"A full {thing} leaves the ice no room, so it breaks.",
        ),
        good,
        "yes",
        "no",
        (1, "Ice takes up less room than the water it came from"),
        (0, f"In the oven the water in the {thing} turns to steam"),
        1,
        (1, 2),
        "choice",
    )


def shadow(rng: random.Random) -> Draft:
    thing = rng.choice(("pole", "tree", "tower"))
    early, late = rng.choice((("noon", "evening"), ("noon", "sunset"), ("midday", "dusk")))
    good = (
        f"Around {early} the sun is high, and near {late} it is low",
        "Low light throws long shadows",
        f"So the {thing} has its longer shadow at {late}",
    )
    return Draft(
        f"Is the shadow of a {thing} longer at {early} or at {late}?",
        (
            f"At {early} the sun stands high, at {late} it stands low.",
            "A low sun makes a long shadow.",
            f"So the shadow of the {thing} is longer at {late}.",
        ),
        good,
        late,
        early,
        (1, "Low light throws short shadows"),
        (0, f"Around {late} the sun is high, and near {early} it is low"),
        0,
        (0, 2),
        "choice",
    )


def heights(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    good = (
        f"{b} is shorter than {a}",
        f"{c} is shorter than {b}, hence the shortest so far",
        f"From tall to short they are {a}, {b}, {c}, so it is {c}",
    )
    return Draft(
        f"{a} is taller than {b}, and {b} is taller than {c}. Who is the shortest of the three?",
        (
            f"{a} is taller than {b}.",
            f"{b} is taller than {c}.",
            f"So the order from the tallest is {a}, {b}, {c}, and {c} is the shortest.",
        ),
        good,
        c,
        a,
        (0, f"{a} is shorter than {b}"),
        (2, f"From tall to short they are {b}, {a}, {c}, so it is {c}"),
        1,
        (0, 2),
        "choice",
    )


def match(rng: random.Random) -> Draft:
    event = rng.choice(("match", "concert", "parade"))
    cause = rng.choice(("rains", "snows"))
    good = (
        f"Whenever it {cause}, there is no {event}",
        f"But there was a {event} on Sunday",
        f"Hence it cannot be that it {cause} on Sunday",
    )
    return Draft(
        f"If it {cause}, the {event} is called off. On Sunday the {event} took place. "
        "Could there have been such weather on Sunday, yes or no?",
        (
            f"If it {cause}, the {event} does not take place.",
            f"On Sunday the {event} took place.",
            f"So it is not so that it {cause} on Sunday.",
        ),
        good,
        "no",
        "yes",
        (0, f"Whenever it {cause}, there is a {event}"),
        (1, f"But there was no {event} on Sunday"),
        1,
        (0, 2),
        "choice",
    )


def queue(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    ahead = rng.randint(4, 9)
    good = (
        f"With {ahead} people ahead, {a} is number {ahead} + 1 = {ahead + 1}",
        f"{b} comes right after {a}, at {ahead + 1} + 1 = {ahead + 2}",
        f"{c} is one further back, at {ahead + 2} + 1 = {ahead + 3}",
    )
    return Draft(
        f"{ahead} people stand in a queue before {a}. Right behind {a} stands {b}, and right "
        f"behind {b} stands {c}. At which place is {c}?",
        (
            f"{ahead} + 1 = {ahead + 1}",
            f"{ahead + 1} + 1 = {ahead + 2}",
            f"{ahead + 2} + 1 = {ahead + 3}",
        ),
        good,
        str(ahead + 3),
        str(ahead + 2),
        (1, f"{b} comes right after {a}, at {ahead + 1} + 1 = {ahead + 3}"),
        (0, f"With {ahead + 2} people ahead, {a} is number {ahead + 2} + 1 = {ahead + 1}"),
        1,
        (1, 2),
        "number",
    )


def doubling(rng: random.Random) -> Draft:
    start, times = rng.randint(3, 12), 3
    a, b, c = 2 * start, 4 * start, 8 * start
    good = (
        f"The number after {start} is 2 x {start} = {a}",
        f"The next is 2 x {a} = {b}",
        f"After {times} steps we are at 2 x {b} = {c}",
    )
    return Draft(
        f"A sequence starts with {start}, and each number is twice the one before it. "
        f"Which number comes {times} places after the first?",
        (f"{start} x 2 = {a}", f"{a} x 2 = {b}", f"{b} x 2 = {c}"),
        good,
        str(c),
        str(b),
        (1, f"The next is 2 x {a} = {b + 2}"),
        (0, f"The number after {start + 3} is 2 x {start + 3} = {a}"),
        1,
        (1, 2),
    )


def clothes(rng: random.Random) -> Draft:
    name = rng.choice(NAMES)
    warm, cold = rng.choice((("Egypt", "Norway"), ("Spain", "Iceland"), ("Cuba", "Finland")))
    good = (
        f"January in {cold} is freezing, in {warm} it is mild",
        f"A thick coat is for freezing weather, so {name} needs it for {cold}",
    )
    return Draft(
        f"{name} travels in January, first to {warm} and then to {cold}. "
        "For which of the two countries should the thick coat be packed?",
        (
            f"In January it is cold in {cold} and mild in {warm}.",
            f"A thick coat is for the cold, so it is packed for {cold}.",
        ),
        good,
        cold,
        warm,
        (0, f"January in {warm} is freezing, in {cold} it is mild"),
        (1, f"A thick coat is for freezing weather, so {name} needs it for {warm}"),
        0,
        (0, 1),
        "choice",
    )


def rhyme(rng: random.Random) -> Draft:
    word, right, wrong, third = rng.choice(
        (
            ("night", "light", "nine", "lamp"),
            ("moon", "spoon", "mouse", "star"),
            ("house", "mouse", "horse", "home"),
            ("chair", "pear", "chain", "table"),
        )
    )
    good = (
        f"Words that rhyme end in the same sound, and {word} ends like {right}",
        f"Neither {wrong} nor {third} ends in that sound",
        f"That leaves {right}",
    )
    return Draft(
        f"Which word rhymes with {word}: {wrong}, {right} or {third}?",
        (
            "Words rhyme when they end in the same sound.",
            f"The endings of {right} and {word} sound the same, those of {wrong} and {third} do "
            "not.",
            f"So it is {right}.",
        ),
        good,
        right,
        wrong,
        (0, f"Words that rhyme begin with the same sound, and {word} begins like {wrong}"),
        (1, f"Neither {right} nor {third} ends in that sound"),
        0,
        (0, 2),
        "choice",
    )
