"""opmask within other programs. None of them is needed to import what is here."""
