"""Tables, curves and heatmaps from metrics files, a file per kind.

A kind says which sources it takes, has its options as a frozen dataclass, and is a function from
the sources' contents to what ``results/NAME.json`` holds. What is missing is told, never averaged
over.
"""

from __future__ import annotations
