"""The only modules that open sockets, files or databases."""
