"""The command line: a thin coat over `tfinspect.api`."""
