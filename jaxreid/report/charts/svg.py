"""The little SVG that the charts are drawn with."""

import html

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
WIDTH = 440  # of a chart, where its content does not decide
ACCENT = "var(--accent, #2f6db5)"
MUTED = 0.66  # opacity of secondary text


def element(name: str, *children: str, **attributes: str | float | None) -> str:
    """An SVG element.

    Args:
        name: The tag.
        *children: Markup inside, already escaped.
        **attributes: Underscores stand for hyphens; values are escaped, numbers rounded to a tenth
            of a pixel, and None leaves the attribute out.
    """
    pairs = "".join(
        f' {key.replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{pairs}>{''.join(children)}</{name}>"


def text(x: float, y: float, content: str, **attributes: str | float | None) -> str:
    """A line of text in the colour of its surroundings; `content` is escaped here."""
    return element("text", html.escape(content), x=x, y=y, **{"font_size": 12, **attributes})


def heading(title: str) -> str:
    """The title of a chart, at the top left."""
    return text(0, 16, title, font_size=14, font_weight=600)


def document(width: float, height: float, description: str, *children: str) -> str:
    """A whole picture that scales to its container and reads as one image to a screen reader."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_attribute(width)} {_attribute(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=description,
        font_family=FONT,
        fill="currentColor",
    )


def text_width(content: str, font_size: float = 12) -> float:
    """An estimate, on the wide side, of the width of a text in pixels."""
    return 0.58 * font_size * len(content)


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return html.escape(value)
    return f"{round(float(value), 1) + 0.0:g}" if abs(value) < 1e5 else str(round(value))
