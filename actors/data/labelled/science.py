"""Labelled questions of science: motion, density, power and heat, food chains."""

import random

from actors.data.labelled.draft import Draft, off


def ride(rng: random.Random) -> Draft:
    speed, first, second = rng.randint(8, 25), rng.randint(1, 4), rng.randint(1, 3)
    hours, far = first + second, speed * (first + second)
    good = (
        f"Altogether the ride takes {first} + {second} = {hours} hours",
        f"At {speed} km an hour that makes {speed} x {hours} = {far} km",
    )
    return Draft(
        f"A cyclist rides {first} hours before noon and {second} hours after it, always at "
        f"{speed} km per hour. How far does the ride go?",
        (f"{first} + {second} = {hours} hours", f"{hours} x {speed} = {far} km"),
        good,
        f"{far} km",
        f"{speed * first} km" if second else "0 km",
        (1, f"At {speed} km an hour that makes {speed} x {hours} = {off(rng, far)} km"),
        (0, f"Altogether the ride takes {first + 2} + {second} = {hours} hours"),
        0,
        (0, 1),
        "quantity",
    )


def food_chain(rng: random.Random) -> Draft:
    prey, hunter, top = rng.choice(
        (("mice", "snakes", "hawks"), ("snails", "frogs", "storks"), ("flies", "spiders", "birds"))
    )
    good = (
        f"Without {hunter}, nothing hunts the {prey} any more",
        f"So more {prey} survive and their number grows",
        f"The {top} starve, because {hunter} were their food",
    )
    return Draft(
        f"In a meadow {hunter} eat {prey}, and {top} eat {hunter}. All {hunter} disappear. "
        "Which animals become more at first?",
        (
            f"If the {hunter} are gone, the {prey} are not hunted any more.",
            f"Therefore more {prey} survive and there are more of them.",
        ),
        good[:2],
        prey,
        top,
        (1, f"So fewer {prey} survive and their number shrinks"),
        (0, f"Without {hunter}, nothing hunts the {top} any more"),
        0,
        (0, 1),
        "choice",
    )


def floating(rng: random.Random) -> Draft:
    volume, sinks = rng.randint(2, 9) * 10, rng.random() < 0.5
    density = rng.choice((2, 3, 4)) if sinks else rng.choice((0.5, 0.8, 0.2))
    mass = round(volume * density)
    sign, verb, other = (">", "sink", "float") if sinks else ("<", "float", "sink")
    good = (
        f"Its density is {mass} g / {volume} = {density}",
        f"{density} {sign} 1",
        f"A body that is {'denser' if sinks else 'lighter'} than water will {verb}",
    )
    return Draft(
        f"A block of {mass} g has a volume of {volume} cubic cm. A cubic cm of water weighs 1 g. "
        "Does the block float or sink?",
        (f"{mass} / {volume} = {density}", f"{density} {sign} 1", f"so it will {verb}"),
        good,
        verb,
        other,
        (1, f"{density} {'<' if sinks else '>'} 1"),
        (0, f"Its density is {mass + 30} g / {volume} = {density}"),
        0,
        (0, 1),
        "choice",
    )


def lamp(rng: random.Random) -> Draft:
    watts, hours, days = rng.choice((5, 8, 12, 40, 60)), rng.randint(2, 9), rng.randint(3, 9)
    daily, total = watts * hours, watts * hours * days
    good = (
        f"In one day the lamp takes {watts} x {hours} = {daily} watt hours",
        f"Over {days} days this is {daily} x {days} = {total} watt hours",
    )
    return Draft(
        f"A lamp of {watts} watts burns {hours} hours a day. How many watt hours does it take in "
        f"{days} days?",
        (f"{watts} x {hours} = {daily}", f"{daily} x {days} = {total}"),
        good,
        str(total),
        str(daily),
        (0, f"In one day the lamp takes {watts} x {hours} = {off(rng, daily)} watt hours"),
        (1, f"Over {days + 1} days this is {daily} x {days + 1} = {total} watt hours"),
        0,
        (0, 1),
    )


def spoons(rng: random.Random) -> Draft:
    metal, other = rng.choice(("steel", "silver", "copper")), rng.choice(("wooden", "plastic"))
    good = (
        f"A {metal} spoon is made of metal",
        "Metal conducts heat quickly",
        f"So the heat of the soup reaches the handle of the {metal} spoon first",
    )
    return Draft(
        f"A {metal} spoon and a {other} spoon stand in hot soup. Whose handle gets hot first?",
        (
            f"The {metal} one is metal.",
            "Metal conducts heat well.",
            f"Therefore the heat gets to the handle of the {metal} spoon first.",
        ),
        good,
        metal,
        other,
        (1, "Metal stops heat quickly"),
        (2, f"So the heat of the soup reaches the handle of the {other} spoon first"),
        1,
        (0, 2),
        "choice",
    )


def mixing(rng: random.Random) -> Draft:
    cold = 2 * rng.randint(3, 15)
    hot = cold + 2 * rng.randint(5, 25)
    total, middle = cold + hot, (cold + hot) // 2
    good = (
        f"The two temperatures add up to {hot} + {cold} = {total} degrees",
        f"Equal amounts meet in the middle: {total} / 2 = {middle} degrees",
    )
    return Draft(
        f"A cup of water at {cold} degrees is mixed with a second cup at {hot} degrees. "
        "How warm is the mixture?",
        (f"{cold} + {hot} = {total}", f"{total} / 2 = {middle}"),
        good,
        f"{middle} degrees",
        f"{total} degrees",
        (0, f"The two temperatures add up to {hot} + {cold} = {off(rng, total)} degrees"),
        (0, f"The two temperatures add up to {hot} + {cold + 5} = {total} degrees"),
        0,
        (0, 1),
        "number",
    )
