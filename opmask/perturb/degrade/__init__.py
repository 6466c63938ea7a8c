"""Degradations of the real image: noise, blur and JPEG."""
