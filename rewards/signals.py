"""What packages to the left of this one must know at once; it knows nothing of them."""

from django.dispatch import Signal

# Runs are done, failed or cancelled. Sent in the transaction that ended them.
runs_ended = Signal()
