"""What all lifters share: registry, data, training, evaluation, weights."""
