"""What the training and evaluation scripts share: recipes, data, training, reports."""
