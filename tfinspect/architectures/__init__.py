"""Graphs of networks whose files hold no graph: from their layers, or from a table of known networks."""
