"""The page of an evidence bundle: what happened to one instance, for people, without a program or an address in it.

Everything that users wrote is escaped, and the page forbids its browser to run or load anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

from tenuto.audit.bundle import Content, Entry, embedded

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}
h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem}dt{color:#666}dd{margin:0;overflow-wrap:anywhere}
ol{list-style:none;padding:0;border-left:2px solid #bbb}
li{padding:.25rem 0 .6rem 1rem;position:relative}
li:before{content:"";position:absolute;left:-6px;top:.8rem;width:10px;height:10px;border-radius:5px;background:#555}
li.act:before{background:#b4540a}li.turn:before{background:#0a62b4}
time,.quiet{color:#666}pre{background:#f5f5f5;padding:.6rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;color:#666}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
ENVELOPE = {"at", "commandId", "actor", "reason", "requestId", "entropy"}
SHOWN = ("from", "to", "outcome", "step", "execution", "attempt", "worker", "name", "next")


def page_of(content: Content) -> bytes:
    """The page, with the content inside, up to where its signature goes."""
    title = f"Evidence: {content.instance.get('id')}"
    parts = [
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n',
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n",
        *_facts(content),
        "<h2>What happened</h2>\n<ol>\n",
        *_timeline(content.events),
        "</ol>\n",
        *_definitions(content),
        *_proof(content),
    ]
    return "".join(parts).encode() + embedded(content) + b"\n</html>"


def _facts(content: Content) -> Iterator[str]:
    facts = {**content.instance, "actors": ", ".join(content.actors) or "none named", "as of": content.at}
    yield "<dl>\n"
    for name, value in facts.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>\n"
    yield "</dl>\n"


def _timeline(events: list[Entry]) -> Iterator[str]:
    at = actor = ""
    for entry in events:
        said = entry.said
        if "at" in said:
            at, actor = str(said["at"]), str(said.get("actor") or "")
        reason = str(said.get("reason") or "")
        kind = "turn" if entry.topic == "StatusChanged" else "act" if reason else ""
        shown = ", ".join(f"{name} {said[name]}" for name in SHOWN if name in said)
        who = " · ".join(filter(None, [f"by {actor}" if actor else "", reason]))
        yield f'<li class="{kind}"><time>{escape(at)}</time> <b>{escape(entry.topic)}</b> {escape(shown)}'
        yield f" <span class=quiet>{escape(who)}</span><details><summary>version {entry.version}, position "
        yield f"{entry.position} of the log</summary><pre>{escape(_pretty(said))}</pre></details></li>\n"


def _definitions(content: Content) -> Iterator[str]:
    for entry in content.definitions:
        said = entry.said
        yield f"<h2>Definition {escape(str(said.get('name')))} {escape(str(said.get('version')))}</h2>\n"
        yield f"<p class=quiet>Hash {escape(str(said.get('hash')))}, position {entry.position} of the log.</p>\n"
        yield f"<pre>{escape(str(said.get('source')))}</pre>\n"


def _proof(content: Content) -> Iterator[str]:
    yield "<h2>What this proves</h2>\n<p>Each event above is a leaf of the Merkle tree whose root the checkpoint below "
    yield "signs, and this page is signed with the same key. Check it with <code>tenuto audit verify &lt;this file&gt; "
    yield "--key …</code>, the key got from elsewhere. It does not prove that nothing happened afterwards.</p>\n"
    yield f"<pre>{escape(content.checkpoint)}\n{escape(content.key)}</pre>\n"


def _pretty(said: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(said), indent=2).decode()
