"""The verbs, composed from the layers below: what the command line calls and a notebook would call."""
