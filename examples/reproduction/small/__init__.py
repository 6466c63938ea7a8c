"""A model for photos: its photographs, batches, network and scores."""
