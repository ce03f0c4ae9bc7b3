"""What `kills.py` kills, and how a run kills itself."""
