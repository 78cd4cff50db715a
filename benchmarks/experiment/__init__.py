"""The seed paper's three experiments on any two leathers: trials, its protocol and a better one, tables, findings, a page."""
