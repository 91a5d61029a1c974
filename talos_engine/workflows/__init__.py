"""One function per subcommand: what the command line and library users call.

Each takes a frozen request, checks every input before any long work, writes its result atomically
and returns a frozen result.
"""
