"""/schema for people: the OpenAPI document as one HTML page without scripts or foreign assets."""

import json
from html import escape
from typing import Any

Json = dict[str, Any]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; text-transform: capitalize }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0 }
summary { cursor: pointer; padding: .5rem .75rem }
details > div { border-top: 1px solid var(--line); padding: .25rem .75rem .75rem }
code, pre { font: .875rem/1.45 ui-monospace, monospace }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; border-radius: .3rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .2rem .5rem; border-bottom: 1px solid var(--line);
  vertical-align: top }
.method { display: inline-block; min-width: 4.5rem; font-weight: 600 }
"""


def render(document: Json) -> str:
    """The page. Every text of the document is escaped."""
    title = escape(document["info"]["title"])
    sections = "".join(_section(tag, document) for tag in _tags(document))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head><body>
<h1>{title} {escape(document["info"]["version"])}</h1>
<p>{escape(document["info"]["description"])}</p>
<p>For machines: <a href="/schema/openapi.json">/schema/openapi.json</a></p>
{sections}
<h2>Shapes</h2>
{"".join(_shape(name, schema) for name, schema in document["components"]["schemas"].items())}
</body></html>
"""


def _tags(document: Json) -> list[str]:
    tags = [op["tags"][0] for methods in document["paths"].values() for op in methods.values()]
    return list(dict.fromkeys(tags))


def _section(tag: str, document: Json) -> str:
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["tags"] == [tag]
    )
    return f"<h2>{escape(tag)}</h2>{operations}"


def _operation(method: str, path: str, operation: Json) -> str:
    bodies = operation.get("requestBody", {}).get("content", {})
    return (
        f'<details id="{escape(operation["operationId"])}"><summary>'
        f'<span class="method">{method.upper()}</span><code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary><div>"
        f"{_parameters(operation['parameters'])}"
        f"{''.join(_body(media_type, body) for media_type, body in bodies.items())}"
        f"{_responses(operation['responses'])}</div></details>"
    )


def _parameters(parameters: list[Json]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td>"
        f"<td>{escape(each.get('description', ''))}</td></tr>"
        for each in parameters
    )
    return f"<h4>Parameters</h4><table>{rows}</table>"


def _body(media_type: str, body: Json) -> str:
    shown = body.get("example") or body["schema"]
    return f"<h4>Request: {escape(media_type)}</h4>{_code(shown)}"


def _responses(responses: Json) -> str:
    return "<h4>Answers</h4>" + "".join(
        f"<p><strong>{code}</strong> {escape(response['description'])}</p>{_examples(response)}"
        for code, response in responses.items()
    )


def _examples(response: Json) -> str:
    shown = []
    for content in response.get("content", {}).values():
        if "example" in content:
            shown.append(_code(content["example"]))
        reasons = ", ".join(f"<code>{escape(name)}</code>" for name in content.get("examples", {}))
        if reasons:
            shown.append(f"<p>Reasons: {reasons}</p>")
    return "".join(shown)


def _shape(name: str, schema: Json) -> str:
    return (
        f'<details id="shape-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<div>{_code(schema)}</div></details>"
    )


def _code(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
