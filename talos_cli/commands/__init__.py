"""One file per subcommand: parse, call the engine, render. The engine is imported inside."""
