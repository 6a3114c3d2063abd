"""Learning a new head for an old trunk: images, features, training, evaluation."""
