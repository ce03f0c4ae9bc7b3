"""Qualcomm AI Hub, through its own client, which lives in an environment of its own."""
