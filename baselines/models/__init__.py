"""The lifters that the reproduced papers compare themselves with, one file per paper."""
