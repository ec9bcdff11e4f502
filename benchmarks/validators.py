"""Compare the JSON Schema validators that could check bodies and parameters: time per value, all faults or not.

Run it with `python benchmarks/validators.py`; it needs jsonschema, fastjsonschema and jsonschema-rs.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from typing import Any

import fastjsonschema
import jsonschema
import jsonschema_rs

SMALL = {"type": "integer", "minimum": 1, "maximum": 10}
PET = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 80},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
        "born": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
    },
    "additionalProperties": False,
}
PETS = {"type": "array", "items": PET}
ONE = {"name": "Rex", "age": 3, "tags": ["good", "dog"], "born": "2020-01-31"}
MANY = [{**ONE, "name": f"Rex {i}"} for i in range(140)]
CASES: list[tuple[str, Any, Any, Any]] = [
    ("integer parameter", SMALL, 7, 11),
    ("object of 70 bytes", PET, ONE, {**ONE, "age": "3"}),
    (f"list of {len(json.dumps(MANY)) // 1000} kB", PETS, MANY, [*MANY[:-1], {**ONE, "age": "3"}]),
]


def microseconds(call: Callable[[], object]) -> float:
    """Return the best time of one call over five rounds of a tenth of a second each."""
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    number = max(1, number // 2)
    return min(timer.repeat(5, number)) / number * 1e6


def refuses(check: Callable[[Any], object], value: Any, error: type[Exception]) -> Callable[[], None]:
    """Return a call that must raise."""

    def call() -> None:
        try:
            check(value)
        except error:
            return
        raise AssertionError("a bad value passed")

    return call


def main() -> None:
    """Print a table: rows are cases, columns are validators."""
    print(f"{'case':<22}{'jsonschema':>14}{'fastjsonschema':>16}{'jsonschema-rs':>15}   µs")
    for name, schema, good, bad in CASES:
        plain = jsonschema.Draft4Validator(schema)
        fast = fastjsonschema.compile({"$schema": "http://json-schema.org/draft-04/schema#", **schema})
        rust = jsonschema_rs.Draft4Validator(schema)
        row = [
            microseconds(lambda v=plain, g=good: v.is_valid(g)),
            microseconds(lambda v=fast, g=good: v(g)),
            microseconds(lambda v=rust, g=good: v.is_valid(g)),
        ]
        print(f"{name:<22}{row[0]:>14.2f}{row[1]:>16.2f}{row[2]:>15.2f}   good")
        row = [
            microseconds(lambda v=plain, b=bad: list(v.iter_errors(b))),
            microseconds(refuses(fast, bad, fastjsonschema.JsonSchemaValueException)),
            microseconds(lambda v=rust, b=bad: list(v.iter_errors(b))),
        ]
        print(f"{name:<22}{row[0]:>14.2f}{row[1]:>16.2f}{row[2]:>15.2f}   bad (fastjsonschema: the first fault only)")


if __name__ == "__main__":
    main()
