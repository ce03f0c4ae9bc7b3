"""Snapdragon: graphs as its NPU takes them, compiled here with Qualcomm's own compiler."""
