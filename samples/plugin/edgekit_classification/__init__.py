"""The task `image-classification` for edgekit: which class an image belongs to."""
