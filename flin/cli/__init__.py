"""The command `flin`: one module per subcommand, each with `add_parser` and `run`; main.py joins them."""
