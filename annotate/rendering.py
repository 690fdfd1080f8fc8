"""Text of a model or of an import, made safe to show: it may say anything and do nothing.

Markdown becomes HTML by markdown-it without raw HTML, then passes nh3 as a second net that normally
finds nothing. Nothing of the text may vanish, since the text is what people judge: where rendering
would lose a letter, the text is shown as it was written.
"""

import html
import re
import unicodedata
from collections.abc import Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

# Longer text is shown as written: the slowest input of this length takes three seconds to render.
MAX_RENDERED_CHARS = 64 * 1024

TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "small", "mark", "code", "pre", "blockquote", "a"),
    *("ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "table": {"tabindex"}}

# Characters that hide or reorder what stands beside them: control characters, embeddings,
# overrides and isolates, zero-width spaces, tags. Left alone are tab and line feed, and the marks
# and joiners that Arabic, Hebrew, Persian, Indic scripts and emoji are written with.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def show_hidden(text: str) -> str:
    """The text with every hidden or reordering character replaced by its code, as [U+202E]."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


class _Renderer(RendererHTML):
    """Images become words, links show where they lead, code says which language it is in.

    A table can be reached by the keyboard.
    """

    def image(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        token = tokens[idx]
        return html.escape(f"[image: {token.content}, {_shown(token.attrGet('src'))}]")

    def link_close(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        opening = next(t for t in reversed(tokens[:idx]) if t.type == "link_open")
        if opening.markup == "autolink":  # the text is the address
            return "</a>"
        return f"</a> ({html.escape(_shown(opening.attrGet('href')))})"

    def table_open(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        return '<table tabindex="0">\n'  # it may scroll, and the keyboard must get there too

    def fence(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        token = tokens[idx]
        language = f"<p><small>{html.escape(token.info)}</small></p>\n" if token.info else ""
        return f"{language}<pre><code>{html.escape(token.content)}</code></pre>\n"


def _shown(address: object) -> str:
    return _markdown.normalizeLinkText(str(address or ""))


# References and entities are off since they take text away: a definition never used, an `&shy;`.
_markdown = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": 100}, renderer_cls=_Renderer)
    .enable(["table", "strikethrough"])
    .disable(["reference", "entity"])
)


def render_markdown(text: str) -> str:
    """Sanitised HTML of untrusted Markdown, with every letter of the text still in it."""
    text = show_hidden(text)
    if len(text) > MAX_RENDERED_CHARS:
        return render_plain(text)
    rendered = nh3.clean(
        _markdown.render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )
    return rendered if _keeps_letters(text, rendered) else render_plain(text)


def render_plain(text: str) -> str:
    """HTML that shows the text exactly as it was written."""
    return f"<pre>{html.escape(show_hidden(text))}</pre>"


def visible_text(rendered: str) -> str:
    """What is to be read in HTML that `render_markdown` made."""
    return html.unescape(re.sub(r"<[^>]*>", "", rendered))


def _letters(text: str) -> str:
    """Letters only, since Markdown's own signs and the numbers of lists may go."""
    return "".join(c for c in unicodedata.normalize("NFKC", text) if c.isalpha())


def _keeps_letters(source: str, rendered: str) -> bool:
    """Whether the source's letters all stand in the rendered text, in the same order."""
    shown = iter(_letters(visible_text(rendered)))
    return all(letter in shown for letter in _letters(source))
