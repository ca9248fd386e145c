"""Checks a dashboard against the schema of Grafana, and checks its layout, units, descriptions and data sources.

Usage: grafana.py DASHBOARD

The schema is that of the installed Grafana Foundation SDK. The models of the SDK ignore unknown members and do not check types. So this
script serializes each model again, compares it with the dashboard, and checks the types of its members.
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
# Variables that Grafana provides.
BUILTIN = {"__rate_interval", "__all"}

passed = failed = 0


def check(description, ok, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f"FAILED {description} {detail}")


def serialized(model):
    return json.loads(json.dumps(model, cls=encoder.JSONEncoder))


def unknown_members(original, again, where="dashboard"):
    """Yields the members of the original that are missing in the serialized model."""
    if isinstance(original, dict) and isinstance(again, dict):
        for name, member in original.items():
            yield from unknown_members(member, again.get(name), f"{where}.{name}")
    elif isinstance(original, list) and isinstance(again, list) and len(original) == len(again):
        for number, (one, other) in enumerate(zip(original, again)):
            yield from unknown_members(one, other, f"{where}[{number}]")
    elif original != again and original not in ({}, []):
        yield f"{where} = {original!r} is unknown"


def type_errors(value, hint, where="dashboard"):
    """Yields the type errors of a value. Members that the SDK did not parse are parsed with their declared model."""
    kind, options = typing.get_origin(hint), typing.get_args(hint)
    if hint in (typing.Any, object) and not hasattr(value, "to_json"):
        return
    if kind in (typing.Union, types.UnionType):
        possible = [option for option in options if (option is type(None)) == (value is None)]
        found = [list(type_errors(value, option, where)) for option in possible or options]
        yield from min(found, key=len)
    elif hint is type(None):
        if value is not None:
            yield f"{where} = {value!r} is not null"
    elif kind is typing.Literal:
        if value not in options:
            yield f"{where} = {value!r} is not one of {options}"
    elif kind is list:
        if not isinstance(value, list):
            yield f"{where} = {value!r} is not a list"
            return
        for number, member in enumerate(value):
            yield from type_errors(member, options[0], f"{where}[{number}]")
    elif kind is dict:
        if not isinstance(value, dict):
            yield f"{where} = {value!r} is not an object"
            return
        for name, member in value.items():
            yield from type_errors(member, options[1], f"{where}.{name}")
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [member.value for member in hint]:
            yield f"{where} = {value!r} is not one of {[member.value for member in hint]}"
    elif hint in (str, bool, int, float):
        # In Python, bool is a subclass of int.
        if not isinstance(value, (int, float) if hint is float else hint) or isinstance(value, bool) != (hint is bool):
            yield f"{where} = {value!r} is not a {hint.__name__}"
    else:
        if isinstance(value, dict) and hasattr(hint, "from_json"):
            raw, value = value, hint.from_json(value)
            yield from unknown_members(raw, serialized(value), where)
        if not hasattr(value, "to_json"):
            yield f"{where} = {value!r} is not a {getattr(hint, '__name__', hint)}"
            return
        for name, member in typing.get_type_hints(type(value)).items():
            yield from type_errors(getattr(value, name), member, f"{where}.{name}")


def check_layout(panels):
    """Checks that all panels are within the 24 columns and do not overlap."""
    for panel in panels:
        at = panel["gridPos"]
        check(f"{panel['title']} is within the grid", at["x"] >= 0 and at["w"] > 0 and at["h"] > 0 and at["x"] + at["w"] <= 24, at)
    for one, other in itertools.combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        check(f"{one['title']} and {other['title']} do not overlap", apart, (a, b))


def data_sources(value, where="dashboard"):
    """Yields every data source of the dashboard, with its path."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "datasource":
                yield where, member
            yield from data_sources(member, f"{where}.{name}")
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from data_sources(member, f"{where}[{number}]")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        board = json.load(file)
    plugins.register_default_plugins()
    model = models.Dashboard.from_json(board)
    for error in [*unknown_members(board, serialized(model)), *type_errors(model, models.Dashboard)]:
        check("Grafana's schema", False, error)
    check("Grafana's schema", True)

    panels = board["panels"]
    check_layout(panels)
    for what in ("id", "title"):
        values = [panel[what] for panel in panels]
        check(f"each {what} is unique", len(values) == len(set(values)), values)
    found = list(data_sources(board))
    for where, source in found:
        check(f"{where} uses the data source variable", source == SOURCE, source)
    variables = [variable["name"] for variable in board["templating"]["list"]]
    check("the variables are unique and include datasource and job", {"datasource", "job"} <= set(variables) and len(variables) == len(set(variables)), variables)
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([panels, board["templating"]])))
    check("the used variables are the defined ones", used - BUILTIN == set(variables), (used - BUILTIN) ^ set(variables))
    for panel in panels:
        if panel["type"] == "row":
            continue
        title = panel["title"]
        check(f"{title} has a description", panel["description"].endswith("."), panel["description"])
        check(f"{title} has a unit", panel["fieldConfig"]["defaults"]["unit"])
        check(f"{title} has a data source in every query", "datasource" in panel and all("datasource" in target for target in panel["targets"]))
        names = [target["refId"] for target in panel["targets"]]
        check(f"{title} has unique query names", names and len(names) == len(set(names)), names)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
