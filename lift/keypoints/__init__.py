"""2D keypoints of any detector: reading, choosing a person, and the 17 joints that the models take."""
