"""A page and its pictures: style, tables, words, SVG and HTML. It knows no result."""
