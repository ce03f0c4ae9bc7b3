"""Quantisation: calibration, and the search for what must stay in float."""
