"""What the network's maps say of every block of 12 mm; apart, so that running a network needs no simulation."""

# Shares: of the block's volume for the brain, of FULL_SURFACE cells of 3 mm for a surface.
PARTS = ("missing", "brain", "eyes_left", "eyes_gone", "nose_left", "nose_gone", "mouth_left", "mouth_gone",
         "ears_left", "ears_gone")  # fmt: skip
FULL_SURFACE = 12
