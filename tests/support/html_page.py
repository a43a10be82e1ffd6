"""A web page taken apart by Python's own parser, for checks of what it refers to."""

from html.parser import HTMLParser

EMPTY = {"meta", "link", "img", "br", "hr", "input"}


class HtmlPage(HTMLParser):
    """Attributes: `tags` (name and attributes), `text`, `ids`, `open_tags` (never closed)."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.ids, self.open_tags = [], [], []
        self.text = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in EMPTY:
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        self.text += data

    def attributes(self, name):
        """The values of an attribute, whatever tag has it."""
        return [attributes[name] for _, attributes in self.tags if name in attributes]
