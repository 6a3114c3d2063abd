"""One module a command, each with one function `command`; `cli.app.COMMANDS` names them."""
