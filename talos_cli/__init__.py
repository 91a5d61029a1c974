"""The terminal of talos: options, tables, progress and messages. It holds no mathematics."""
