"""What packages to the left of this one must know at once; it knows nothing of them."""

from django.dispatch import Signal

# Judgements were left out, or taken in again. Sent with `project`, in the transaction that did it.
exclusions_changed = Signal()
