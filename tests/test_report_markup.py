from lehr.report.markup import Markup, joined, tag


def test_texts_are_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", tag("b", "d")) == "<p>a &lt; b &amp; c<b>d</b></p>"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    made = tag(
        "label", class_='"x"', for_="y", data_policy="<z>", aria_hidden="true", checked=True, title=None, open=False
    )
    assert made == '<label class="&quot;x&quot;" for="y" data-policy="&lt;z&gt;" aria-hidden="true" checked></label>'


def test_void_elements_have_no_end() -> None:
    assert tag("br") == "<br>"
    assert tag("input", value=0) == '<input value="0">'


def test_lists_are_spliced_and_none_is_left_out() -> None:
    assert joined(["a", None, [1, [tag("i", "<")]], 2.5]) == "a1<i>&lt;</i>2.5"
    assert isinstance(joined([]), Markup)
