"""Settings and studies: YAML files as models. What could be a name stays text, and every wrong key is told at once."""

from __future__ import annotations

import re
import typing
from collections.abc import Hashable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from morpho_assets.errors import InputError, raise_first

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(model: type[Model], file: Path) -> Model:
    """A YAML file as a model; an empty one has every default.

    Numbers are numbers only where they are written as such: 0042, 1E5, 2020_11_04 and 1.50 are text, and a field that
    is text takes 1053601756 as it stands. Raises InputError for a missing file, for what is no YAML, for a key that
    comes twice and for the first key that does not fit; the others come with it.
    """
    content = _content(file)
    try:
        return _validated(model, content)
    except ValidationError as error:
        raise_first([_fault(model, file, detail) for detail in error.errors()])
        raise


class _Loader(yaml.SafeLoader):
    """YAML 1.2's few plain values: null, true, false, and numbers in their usual form. All else is text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"the key {repeated[0]} comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _starts in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false|True|False", list("tfTF")),
    ("int", r"-?(0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(0|[1-9][0-9]*)\.(0|[0-9]*[1-9])|[-+]?\.(inf|nan)", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), _starts)


def _content(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_bytes(), _Loader)  # a safe loader
    except FileNotFoundError:
        todo = "Create it: `morpho init` writes one; docs/configuration.md has examples."
        raise InputError(file, "", "no such file", "a YAML file", todo) from None
    except OSError as error:
        raise InputError(file, "", f"a file that cannot be read ({error})", "a YAML file", "Restore it.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(file, "", f"no readable YAML ({reason})", "a YAML file", "Mend the syntax.") from None
    if not isinstance(content, dict | None):
        found = f"a {type(content).__name__} at the top"
        raise InputError(file, "", found, "keys with values, such as `sources:`", "Mend the file.")
    return content or {}


def _validated(model: type[Model], content: dict[str, Any]) -> Model:
    """The content as a model; a number where text is wanted is the text that it was written as."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        texts = [detail["loc"] for detail in error.errors() if detail["type"] == "string_type"]
        if not sum(_as_text(content, place) for place in texts):
            raise
    return _validated(model, content)


def _as_text(content: Any, place: tuple[int | str, ...]) -> bool:
    """Make the number at a place text, in place; a place also names alternatives, which the content does not have."""
    holder, key = list(_steps(content, place))[-1]
    number = isinstance(holder[key], int | float) and not isinstance(holder[key], bool)
    if number:
        holder[key] = str(holder[key])
    return number


def _steps(content: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    for part in place:
        if (isinstance(content, dict) and part in content) or (isinstance(content, list) and isinstance(part, int)):
            yield content, part
            content = content[part]


def _fault(model: type[BaseModel], file: Path, detail: ErrorDetails) -> InputError:
    """What pydantic says of one key, in our form, with the name that was probably meant."""
    place = ".".join(str(part) for part in detail["loc"] if part != "")
    expected = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    found, todo = repr(detail["input"])[:80], "Correct the key."
    if detail["type"] == "extra_forbidden":
        known = _known_keys(model, detail["loc"])
        found, expected = f"a key that is not known, with {found}", f"one of {', '.join(known)}"
        todo = _meant(str(detail["loc"][-1]), known) or "Correct or remove the key."
    elif isinstance(detail["input"], str | dict):
        options = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected_tags", "")) or detail["msg"])
        said = detail.get("ctx", {}).get("tag", detail["input"])
        todo = (_meant(said, options) if isinstance(said, str) else "") or todo
    return InputError(file, f"key {place}", found, expected, todo)


def _meant(name: str, known: list[str]) -> str:
    close = get_close_matches(name.lower(), {option.lower(): option for option in known}, 1)
    return f"Did you mean {next(option for option in known if option.lower() == close[0])}?" if close else ""


def _known_keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that the innermost model at a place has; a place names the alternatives of a union by their tags."""
    models = [model]
    for part in place[:-1]:
        fields = [one.model_fields[part].annotation for one in models if part in one.model_fields]
        if fields:
            models = [found for annotation in fields for found in _models(annotation)]
        elif isinstance(part, str):
            models = [one for one in models if part in _tags(one)] or models
    return list(dict.fromkeys(name for one in models for name in one.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _tags(model: type[BaseModel]) -> set[str]:
    """The values by which a union knows the model, and its name."""
    literals = [typing.get_args(field.annotation) for field in model.model_fields.values()]
    return {model.__name__, *(value for values in literals for value in values if isinstance(value, str))}
