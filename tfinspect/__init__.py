"""tfinspect."""
