"""Evidence: how close an artefact is to its float original, in numbers and in detections."""
