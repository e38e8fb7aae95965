"""The lifters that the reproduced papers compare themselves with, one file each, and `person`, around any lifter."""
