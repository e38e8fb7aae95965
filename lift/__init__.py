"""2D keypoints of any detector to 3D poses in millimetres, in the camera's and in the world's axes."""
