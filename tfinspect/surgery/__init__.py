"""Passes over graphs (IR in, IR out), and the analyses they rest on."""
