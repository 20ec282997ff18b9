"""What each width of each part of a model costs the prediction, by gradients and by evaluation."""
