"""A definition on its way to the server: its text, whatever it was given as. Only the server judges it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenuto.workflow import Workflow

Source = str | Path | Mapping[str, Any] | Workflow

LONGEST_PLACE = 500  # characters; the server takes no more, and the end of a path says most


@dataclass(frozen=True, slots=True)
class DefinitionText:
    """`place` is the file it was read from, which the server's findings then name."""

    text: str
    is_json: bool
    place: str | None = None

    @property
    def name(self) -> str:
        """The name that the text gives itself, for the URL. Raises ValueError when there is none.

        Text that does not parse is no error here.
        """
        if self.is_json:
            pattern = re.compile(r'"name"\s*:\s*"([^"]+)"')
        else:
            pattern = re.compile(r"""^name:\s*["']?([^\s"'#]+)""", re.MULTILINE)
        match = pattern.search(self.text)
        if match is None:
            raise ValueError("the definition's text has no top-level `name:`; add one, or pass name=…")
        return match[1]


def text_of(source: Source) -> DefinitionText:
    """A builder or data as JSON; text as it is; anything else is the path of a file. Raises OSError."""
    if isinstance(source, Workflow):
        return DefinitionText(source.to_yaml(), is_json=True)
    if isinstance(source, Mapping):
        return DefinitionText(json.dumps(source, allow_nan=False), is_json=True)
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return DefinitionText(source, is_json=source.lstrip().startswith("{"))
    path = Path(source)
    text = path.read_text(encoding="utf-8")
    return DefinitionText(text, is_json=path.suffix == ".json", place=str(path)[-LONGEST_PLACE:])
