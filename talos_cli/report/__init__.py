"""How a report looks: a template, its style sheet, figures as SVG."""

from __future__ import annotations
