"""HTML reports: packages side by side, each number with where it comes from.

`write_report` is the way in. Needs jinja2 (the extra `report`); the file it writes
needs nothing: no network, no fonts, no scripts from elsewhere.
"""
