"""The ``dcap`` command: one file per subcommand."""
