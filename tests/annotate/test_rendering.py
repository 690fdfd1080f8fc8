import html

import pytest

from annotate.rendering import render_markdown, show_hidden, visible_text

# What a model or an import may try. None of it may become a tag or an attribute that acts.
ATTACKS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe src=//evil.example></iframe>",
    "<object data=//evil.example></object>",
    "<embed src=//evil.example>",
    "<form action=//evil.example><input name=csrfmiddlewaretoken><button>go</button></form>",
    "<base href=//evil.example/>",
    '<meta http-equiv="refresh" content="0;url=//evil.example">',
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>body{display:none}</style>",
    "<div style='position:fixed;inset:0'>over everything</div>",
    "<div hx-get=/logout hx-trigger=load>x</div>",
    "<div data-hx-post=/a/1/skip/ data-hx-trigger=load>x</div>",
    '<div hx-on:click="alert(1)">x</div>',
    "<a id=ranking name=ranking>clobber</a>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<details open ontoggle=alert(1)>x</details>",
    "<video><source onerror=alert(1)></video>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](&#106;avascript:alert(1))",
    "[click](data:text/html,<script>alert(1)</script>)",
    "[click](vbscript:msgbox)",
    "<javascript:alert(1)>",
    "![pixel](https://evil.example/pixel.png)",
    "![pixel][ref]\n\n[ref]: https://evil.example/pixel.png",
    '![x](x " onerror=alert(1) ")',
    '[a](https://x.example/ "onmouseover=alert(1)")',
    "`<img src=x onerror=alert(1)>`",
    "```\n<script>alert(1)</script>\n```",
    '``` " onmouseover=alert(1) x="\ncode\n```',
    "| <img src=x onerror=alert(1)> | b |\n|---|---|\n| <b onclick=x> | c |",
    "# <img src=x onerror=alert(1)>",
    "> <iframe src=javascript:alert(1)>",
    "<p>\u202eevil\u202c</p>",
    "\x1b[2Jcleared",
    "</div></article></form><form action=/logout method=post>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "{{ csrf_token }} {% csrf_token %}",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_never_becomes_anything_that_acts(attack):
    rendered = render_markdown(attack).lower()
    for tag in ("script", "img", "svg", "iframe", "form", "input", "style", "meta", "base", "div"):
        assert f"<{tag}" not in rendered
    for opening in rendered.split("<")[1:]:
        tag = opening.split(">")[0]
        for attribute in ("on", "hx-", "data-", "style", "id=", "name=", "class", "src"):
            assert f" {attribute}" not in tag
        if "href" in tag:
            assert 'href="https://' in tag or 'href="http://' in tag
            assert 'rel="noopener noreferrer nofollow"' in tag


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_letter_of_the_text_is_lost(attack):
    shown = iter(visible_text(render_markdown(attack)))
    assert all(c in shown for c in show_hidden(attack) if c.isalpha())


def test_markdown_is_rendered():
    rendered = render_markdown("# Head\n\n**bold** `code`\n\n1. one\n\n| a | b |\n|-|-|\n| c | d |")
    for tag in ("<h1>", "<strong>bold</strong>", "<code>code</code>", "<ol>", "<td>c</td>"):
        assert tag in rendered


def test_a_link_shows_where_it_leads_and_an_image_is_not_loaded():
    rendered = render_markdown("[good](https://evil.example/ü) ![cat](https://x.example/cat.png)")
    assert visible_text(rendered).strip() == (
        "good (https://evil.example/ü) [image: cat, https://x.example/cat.png]"
    )


def test_entities_and_definitions_are_shown_beside_the_markdown_around_them():
    shown = visible_text(render_markdown("Tom &amp; *Jerry*\n\n[unused]: https://x.example"))
    assert shown.split() == ["Tom", "&amp;", "Jerry", "[unused]:", "https://x.example"]


def test_hidden_and_reordering_characters_are_shown():
    text = "a\u202eb\u2066c\u200bd\ufeffe\x1bf\x7fg\u0085h\U000e0041i"
    shown = visible_text(render_markdown(text))
    for code in ("202E", "2066", "200B", "FEFF", "001B", "007F", "0085", "E0041"):
        assert f"[U+{code}]" in shown
    assert not set("\u202e\u2066\u200b\ufeff\x1b\x7f\u0085\U000e0041") & set(shown)


def test_scripts_that_need_joiners_keep_them():
    text = "می\u200cخواهم 👩\u200d🔬 שלום\u200f"
    assert text in visible_text(render_markdown(text))


@pytest.mark.parametrize(
    "text",
    [
        ">" * 150 + " deep quote",
        "\n".join("  " * level + f"- level {level}" for level in range(150)),
        "| a | b |\n|---|---|\n| c | d | more than the head has |",
        "[unused]: https://x.example 'a definition that is nowhere used'",
        "[a](https://x.example 'a title')",
    ],
)
def test_what_markdown_would_drop_is_shown_as_it_was_written(text):
    shown = iter(visible_text(render_markdown(text)))
    assert all(c in shown for c in text if c.isalpha())


def test_a_very_long_text_is_shown_as_it_was_written():
    text = "|a" * 40_000
    assert html.unescape(render_markdown(text)) == f"<pre>{text}</pre>"
