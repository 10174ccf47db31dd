"""The ``dcap`` command: one file per subcommand.

Each one has ``add_parser(subparsers)``, which sets ``run``, and ``run(args)``, which returns the exit code.
"""

__all__: list[str] = []
