"""Holds a dashboard to Grafana's own schema, and to what an import cannot tell: places, units, descriptions, sources of data.

Usage: grafana.py DASHBOARD

The schema is that of the version of the Grafana Foundation SDK that Python finds. Its models ignore what they do not know and check no
types, so each is written out again and compared, and its members are held to the types that it declares.
"""

import enum
import itertools
import json
import re
import sys
import types
import typing

from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard as models

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What Grafana itself puts in.
BUILTIN = {"__rate_interval", "__all"}

passed = failed = 0


def check(what, good, detail=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    if not good:
        print(f"FAILED {what} {detail}")


def written(model):
    return json.loads(json.dumps(model, cls=encoder.JSONEncoder))


def lost(original, again, where="dashboard"):
    """What of the original is not in what the models wrote again."""
    if isinstance(original, dict) and isinstance(again, dict):
        for name, member in original.items():
            yield from lost(member, again.get(name), f"{where}.{name}")
    elif isinstance(original, list) and isinstance(again, list) and len(original) == len(again):
        for number, (one, other) in enumerate(zip(original, again)):
            yield from lost(one, other, f"{where}[{number}]")
    elif original != again and original not in ({}, []):
        yield f"{where} = {original!r} is not known"


def mistyped(value, hint, where="dashboard"):
    """What of a value is not of its type. Members that the SDK left as they were are read by the model that it declares for them."""
    kind, options = typing.get_origin(hint), typing.get_args(hint)
    if hint in (typing.Any, object) and not hasattr(value, "to_json"):
        return
    if kind in (typing.Union, types.UnionType):
        possible = [option for option in options if (option is type(None)) == (value is None)]
        found = [list(mistyped(value, option, where)) for option in possible or options]
        yield from min(found, key=len)
    elif hint is type(None):
        if value is not None:
            yield f"{where} = {value!r} is not null"
    elif kind is typing.Literal:
        if value not in options:
            yield f"{where} = {value!r} is none of {options}"
    elif kind is list:
        if not isinstance(value, list):
            yield f"{where} = {value!r} is no list"
            return
        for number, member in enumerate(value):
            yield from mistyped(member, options[0], f"{where}[{number}]")
    elif kind is dict:
        if not isinstance(value, dict):
            yield f"{where} = {value!r} is no object"
            return
        for name, member in value.items():
            yield from mistyped(member, options[1], f"{where}.{name}")
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [member.value for member in hint]:
            yield f"{where} = {value!r} is none of {[member.value for member in hint]}"
    elif hint in (str, bool, int, float):
        # Python counts a boolean among the numbers.
        if not isinstance(value, (int, float) if hint is float else hint) or isinstance(value, bool) != (hint is bool):
            yield f"{where} = {value!r} is no {hint.__name__}"
    else:
        if isinstance(value, dict) and hasattr(hint, "from_json"):
            raw, value = value, hint.from_json(value)
            yield from lost(raw, written(value), where)
        if not hasattr(value, "to_json"):
            yield f"{where} = {value!r} is no {getattr(hint, '__name__', hint)}"
            return
        for name, member in typing.get_type_hints(type(value)).items():
            yield from mistyped(getattr(value, name), member, f"{where}.{name}")


def places(panels):
    """Every panel within the 24 columns, and none over another."""
    for panel in panels:
        at = panel["gridPos"]
        check(f"{panel['title']} is within the grid", at["x"] >= 0 and at["w"] > 0 and at["h"] > 0 and at["x"] + at["w"] <= 24, at)
    for one, other in itertools.combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        check(f"{one['title']} and {other['title']} are apart", apart, (a, b))


def sources(value, where="dashboard"):
    """Every source of data that is named anywhere."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "datasource":
                yield where, member
            yield from sources(member, f"{where}.{name}")
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from sources(member, f"{where}[{number}]")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        board = json.load(file)
    plugins.register_default_plugins()
    model = models.Dashboard.from_json(board)
    for complaint in [*lost(board, written(model)), *mistyped(model, models.Dashboard)]:
        check("Grafana's schema", False, complaint)
    check("Grafana's schema", True)

    panels = board["panels"]
    places(panels)
    for what in ("id", "title"):
        values = [panel[what] for panel in panels]
        check(f"each {what} once", len(values) == len(set(values)), values)
    named = list(sources(board))
    for where, source in named:
        check(f"{where} leaves the source of data to the variable", source == SOURCE, source)
    variables = [variable["name"] for variable in board["templating"]["list"]]
    check("the variables", {"datasource", "job"} <= set(variables) and len(variables) == len(set(variables)), variables)
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([panels, board["templating"]])))
    check("each variable that is used exists, and the other way round", used - BUILTIN == set(variables), (used - BUILTIN) ^ set(variables))
    for panel in panels:
        if panel["type"] == "row":
            continue
        title = panel["title"]
        check(f"{title} has a description", panel["description"].endswith("."), panel["description"])
        check(f"{title} has a unit", panel["fieldConfig"]["defaults"]["unit"])
        check(f"{title} says where its data is from", "datasource" in panel and all("datasource" in target for target in panel["targets"]))
        names = [target["refId"] for target in panel["targets"]]
        check(f"{title} has queries with names of their own", names and len(names) == len(set(names)), names)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
