"""Pre-training domains of composed pictures: faces, clocks, arrows, charts, flags, things."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sample import COLOURS, NUMBERS, Sample, about, pick, shade, two_colours

from talos_engine.data.drawing import Colour, Scene, backdrop, contrasting_colours, place
from talos_engine.data.shape_outlines import CIRCLE, SQUARE, arrow, rectangle, regular_polygon

_EIGHT_WAYS = ("up", "up right", "right", "down right", "down", "down left", "left", "up left")
_MOODS = ("happy", "sad", "neutral", "surprised", "winking", "sleeping")
_FLAGS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "france": (False, ("blue", "white", "red")),
    "italy": (False, ("green", "white", "red")),
    "ireland": (False, ("green", "white", "orange")),
    "belgium": (False, ("black", "yellow", "red")),
    "romania": (False, ("blue", "yellow", "red")),
    "nigeria": (False, ("green", "white", "green")),
    "germany": (True, ("black", "red", "yellow")),
    "netherlands": (True, ("red", "white", "blue")),
    "russia": (True, ("white", "blue", "red")),
    "hungary": (True, ("red", "white", "green")),
    "austria": (True, ("red", "white", "red")),
    "poland": (True, ("white", "red")),
    "ukraine": (True, ("blue", "yellow")),
    "estonia": (True, ("blue", "black", "white")),
}


def _ground(rng: np.random.Generator) -> tuple[Scene, str, Colour, float]:
    """A scene, a colour name that stands out on it, its shade, and how worn the image gets."""
    colour, ground = two_colours(rng)
    roughness = float(rng.random() ** 2)
    return Scene(backdrop(rng, shade(rng, ground), 0.06 * roughness)), colour, shade(
        rng, colour
    ), roughness  # fmt: skip


def face(rng: np.random.Generator) -> Sample:
    """A round face in one of six moods."""
    scene, colour, skin, roughness = _ground(rng)
    mood = pick(rng, _MOODS)
    ink: Colour = (20, 20, 20) if sum(skin) > 250 else (240, 240, 240)
    radius = float(rng.uniform(0.3, 0.46))
    x, y = (0.5 + rng.normal(0, 0.03, 2)).tolist()

    def at(points: list[tuple[float, float]]) -> np.ndarray:
        return place(np.array(points, dtype=np.float64), (x, y), radius)

    scene.disc((x, y), radius, skin)
    for side in (-1, 1):
        shut = mood == "sleeping" or (mood == "winking" and side == 1)
        if shut:
            scene.stroke(at([(side * 0.38 - 0.16, -0.25), (side * 0.38 + 0.16, -0.25)]), ink, 0.04)
        else:
            scene.disc(tuple(at([(side * 0.38, -0.25)])[0]), radius * 0.13, ink)
    bend = {"happy": 0.3, "winking": 0.3, "sad": -0.3}.get(mood, 0.0)
    if mood == "surprised":
        scene.disc(tuple(at([(0.0, 0.45)])[0]), radius * 0.2, ink)
    else:
        across = np.linspace(-0.45, 0.45, 9)
        mouth = [
            (float(u), 0.4 + bend * (1 - (u / 0.45) ** 2) - 0.1 * np.sign(bend)) for u in across
        ]
        scene.stroke(at(mouth), ink, 0.045)
    general = about(f"a {mood} face", f"someone {mood}")
    return Sample(scene.pixels(), f"face {mood}", general, (f"a {mood} {colour} face",), roughness)


def clock(rng: np.random.Generator) -> Sample:
    """A clock that shows a full or half hour."""
    scene, colour, paint, roughness = _ground(rng)
    hour, half = int(rng.integers(1, 13)), bool(rng.random() < 0.3)
    radius = float(rng.uniform(0.36, 0.46))
    scene.disc((0.5, 0.5), radius, paint)
    inside = (245, 245, 245) if rng.random() < 0.6 else (25, 25, 25)
    ink = (25, 25, 25) if inside[0] > 100 else (245, 245, 245)
    scene.disc((0.5, 0.5), radius * 0.85, inside)
    hand = np.array([(0.0, 0.0), (0.0, -1.0)])
    scene.stroke(place(hand, (0.5, 0.5), radius * 0.75, 180.0 * half), ink, 0.035)
    turn = 30.0 * (hour + 0.5 * half)
    scene.stroke(place(hand, (0.5, 0.5), radius * 0.45, turn), (210, 30, 30), 0.06)
    words = (*NUMBERS, "eleven", "twelve")
    time = f"half past {words[hour]}" if half else f"{words[hour]} o'clock"
    general = about(f"a clock at {time}", f"a clock that shows {time}")
    return Sample(scene.pixels(), f"clock {time}", general, (f"a {colour} clock",), 0.5 * roughness)


def pointing_arrow(rng: np.random.Generator) -> Sample:
    """An arrow in one of eight directions, bare or on a disc."""
    scene, colour, paint, roughness = _ground(rng)
    way = int(rng.integers(8))
    radius, tilt = float(rng.uniform(0.25, 0.44)), 45.0 * way + float(rng.normal(0, 5))
    centre = (0.5 + float(rng.normal(0, 0.04)), 0.5 + float(rng.normal(0, 0.04)))
    if rng.random() < 0.4:
        scene.disc(centre, radius, paint)
        light = sum(paint) > 380
        scene.polygon(
            place(arrow() * 0.7, centre, radius, tilt), (20, 20, 20) if light else (245, 245, 245)
        )
    else:
        scene.polygon(place(arrow(), centre, radius, tilt), paint)
    name = f"arrow pointing {_EIGHT_WAYS[way]}"
    general = (*about(f"an {name}"), f"the direction {_EIGHT_WAYS[way]}")
    return Sample(scene.pixels(), name, general, (f"a {colour} {name}",), roughness)


def chart(rng: np.random.Generator) -> Sample:
    """A bar chart, a curve, a pie, or a progress bar."""
    scene, colour, paint, roughness = _ground(rng)
    kind = pick(rng, ("bar chart", "line chart", "pie chart", "progress bar"))
    if kind in ("bar chart", "line chart"):
        trend = pick(rng, ("rising", "falling", "peaked", "flat"))
        u = np.linspace(0, 1, 6)
        course = {
            "rising": u,
            "falling": 1 - u,
            "peaked": 1 - 2 * np.abs(u - 0.5),
            "flat": 0 * u + 0.5,
        }
        heights = 0.15 + 0.6 * np.clip(course[trend] + rng.normal(0, 0.05, 6), 0, 1)
        x = 0.1 + 0.14 * np.arange(6)
        if kind == "bar chart":
            for left, height in zip(x.tolist(), heights.tolist(), strict=True):
                box = [
                    (left, 0.9 - height),
                    (left + 0.1, 0.9 - height),
                    (left + 0.1, 0.9),
                    (left, 0.9),
                ]
                scene.polygon(np.array(box), paint)
        else:
            scene.stroke(np.stack([x + 0.05, 0.9 - heights], axis=1), paint, 0.06)
        noun = f"a {trend} {kind}"
    else:
        share = int(rng.integers(1, 4))
        part = ("one quarter", "one half", "three quarters")[share - 1]
        if kind == "pie chart":
            rim = place(CIRCLE, (0.5, 0.5), 0.42)
            scene.stroke(rim, paint, 0.03, closed=True)
            scene.polygon(np.concatenate([[[0.5, 0.5]], rim[: 7 * share + 1]]), paint)
        else:
            top, high = float(rng.uniform(0.15, 0.6)), 0.22
            frame = np.array([(0.08, top), (0.92, top), (0.92, top + high), (0.08, top + high)])
            scene.stroke(frame, paint, 0.03, closed=True)
            end = 0.08 + 0.84 * share / 4
            scene.polygon(
                np.array([(0.08, top), (end, top), (end, top + high), (0.08, top + high)]), paint
            )
        noun = f"a {kind} of {part}"
    return Sample(
        scene.pixels(), noun, about(noun), (f"a {colour} {kind}", f"a {kind}"), roughness * 0.6
    )


def flag(rng: np.random.Generator) -> Sample:
    """A flag of two or three bands: a nation's, or made up."""
    if rng.random() < 0.5:
        nation = pick(rng, tuple(_FLAGS))
        lying, bands = _FLAGS[nation]
    else:
        nation, lying = "", bool(rng.random() < 0.5)
        names = tuple(COLOURS)
        bands = tuple(names[i] for i in rng.choice(len(names), 3, replace=False).tolist())
    rows = np.repeat([shade(rng, band) for band in bands], -(-32 // len(bands)), axis=0)[:32]
    image = np.repeat(rows[:, None], 32, axis=1)
    image = (image if lying else image.swapaxes(0, 1)).astype(np.uint8)
    way = "horizontal" if lying else "vertical"
    listed = " ".join(bands)
    captions: tuple[str, ...] = (
        f"a flag of {listed}",
        f"{way} bands of {listed}",
        f"a flag with {way} bands of {listed}",
    )
    key = f"flag {way} {listed}"
    if nation:
        captions = (*captions, f"the flag of {nation}", f"a picture of the flag of {nation}")
    return Sample(image, key, captions, (), float(rng.random() * 0.6))


def lines(rng: np.random.Generator) -> Sample:
    """One to five parallel lines of a named direction."""
    scene, colour, paint, roughness = _ground(rng)
    way = int(rng.integers(4))
    count = int(rng.integers(1, 6))
    tilt = 45.0 * way + float(rng.normal(0, 4))
    for place_of in np.linspace(-0.7, 0.7, count) if count > 1 else (0.0,):
        ends = place(np.array([(-0.9, place_of), (0.9, place_of)]), (0.5, 0.5), 0.45, tilt)
        scene.stroke(ends, paint, 0.05)
    name = ("horizontal", "falling", "vertical", "rising")[way]
    noun = f"{NUMBERS[count]} {name} line{'s' if count > 1 else ''}"
    return Sample(scene.pixels(), noun, about(noun), (f"{noun} in {colour}",), roughness)


def _house(scene: Scene, one: Colour, two: Colour) -> None:
    scene.polygon(place(SQUARE, (0.5, 0.66), 0.3), one)
    scene.polygon(place(regular_polygon(3) * np.array([1.2, 0.7]), (0.5, 0.33), 0.36), two)


def _tree(scene: Scene, one: Colour, _two: Colour) -> None:
    scene.polygon(place(rectangle(2.5), (0.5, 0.75), 0.07), (110, 70, 30))
    scene.disc((0.5, 0.36), 0.27, one)


def _fir(scene: Scene, one: Colour, _two: Colour) -> None:
    for y in (0.32, 0.5, 0.68):
        scene.polygon(place(regular_polygon(3), (0.5, y), 0.14 + 0.2 * y), one)


def _car(scene: Scene, one: Colour, _two: Colour) -> None:
    scene.polygon(place(rectangle(0.3), (0.5, 0.6), 0.42), one)
    scene.polygon(place(rectangle(0.45), (0.48, 0.42), 0.24), one)
    for x in (0.27, 0.73):
        scene.disc((x, 0.73), 0.1, (20, 20, 20))


def _boat(scene: Scene, one: Colour, two: Colour) -> None:
    scene.polygon(np.array([(0.1, 0.65), (0.9, 0.65), (0.75, 0.85), (0.25, 0.85)]), one)
    scene.polygon(np.array([(0.5, 0.1), (0.8, 0.6), (0.5, 0.6)]), two)


def _fish(scene: Scene, one: Colour, two: Colour) -> None:
    scene.polygon(place(CIRCLE * np.array([1, 0.6]), (0.45, 0.5), 0.32), one)
    scene.polygon(np.array([(0.68, 0.5), (0.94, 0.28), (0.94, 0.72)]), one)
    scene.disc((0.28, 0.45), 0.04, two)


def _cup(scene: Scene, one: Colour, _two: Colour) -> None:
    scene.stroke(place(CIRCLE, (0.7, 0.5), 0.15), one, 0.06, closed=True)
    scene.polygon(np.array([(0.2, 0.28), (0.7, 0.28), (0.63, 0.8), (0.27, 0.8)]), one)


def _mountain(scene: Scene, one: Colour, two: Colour) -> None:
    scene.polygon(np.array([(0.0, 0.9), (0.35, 0.25), (0.7, 0.9)]), one)
    scene.polygon(np.array([(0.4, 0.9), (0.7, 0.4), (1.0, 0.9)]), two)


def _flower(scene: Scene, one: Colour, two: Colour) -> None:
    scene.stroke(np.array([(0.5, 0.5), (0.5, 0.97)]), (40, 140, 50), 0.05)
    for corner in place(regular_polygon(6), (0.5, 0.4), 0.2).tolist():
        scene.disc((corner[0], corner[1]), 0.12, one)
    scene.disc((0.5, 0.4), 0.11, two)


def _traffic_light(scene: Scene, _one: Colour, _two: Colour) -> None:
    scene.polygon(place(rectangle(2.2), (0.5, 0.5), 0.19), (25, 25, 25))
    for y, lamp in ((0.22, (220, 30, 30)), (0.5, (240, 200, 40)), (0.78, (40, 190, 70))):
        scene.disc((0.5, y), 0.12, lamp)


def _person(scene: Scene, one: Colour, two: Colour) -> None:
    scene.disc((0.5, 0.2), 0.12, two)
    scene.stroke(np.array([(0.5, 0.3), (0.5, 0.62)]), one, 0.12)
    scene.stroke(np.array([(0.25, 0.45), (0.75, 0.45)]), one, 0.06)
    scene.stroke(np.array([(0.3, 0.93), (0.5, 0.6), (0.7, 0.93)]), one, 0.07)


def _lamp(scene: Scene, one: Colour, two: Colour) -> None:
    scene.stroke(np.array([(0.5, 0.4), (0.5, 0.9)]), two, 0.06)
    scene.polygon(np.array([(0.35, 0.1), (0.65, 0.1), (0.85, 0.45), (0.15, 0.45)]), one)


def _ladder(scene: Scene, one: Colour, _two: Colour) -> None:
    for x in (0.3, 0.7):
        scene.stroke(np.array([(x, 0.05), (x, 0.95)]), one, 0.06)
    for y in (0.2, 0.4, 0.6, 0.8):
        scene.stroke(np.array([(0.3, y), (0.7, y)]), one, 0.05)


_THINGS: dict[str, Callable[[Scene, Colour, Colour], None]] = {
    "house": _house, "round tree": _tree, "fir tree": _fir, "car": _car, "boat": _boat,
    "fish": _fish, "cup": _cup, "mountain": _mountain, "garden flower": _flower,
    "traffic light": _traffic_light, "person": _person, "lamp": _lamp, "ladder": _ladder,
}  # fmt: skip


def thing(rng: np.random.Generator) -> Sample:
    """A simple drawing of an everyday thing."""
    name = pick(rng, tuple(_THINGS))
    colour, other = two_colours(rng)
    _, ground = contrasting_colours(rng)
    roughness = float(rng.random() ** 2)
    scene = Scene(backdrop(rng, ground, 0.1 * roughness))
    _THINGS[name](scene, shade(rng, colour), shade(rng, other))
    moved = np.roll(scene.pixels(), rng.integers(-2, 3, 2).tolist(), axis=(0, 1))
    return Sample(moved, f"thing {name}", about(f"a {name}"), (f"a {colour} {name}",), roughness)
