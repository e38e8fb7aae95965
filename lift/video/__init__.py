"""2D keypoints of the people in a video: frames, detectors, and `detect.detect`, which joins them.

Needs the extra: `pip install liftbench[video]`.
"""
