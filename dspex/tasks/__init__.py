"""Tasks from data: a signature from columns, and examples from rows."""

from dspex.tasks._columns import examples_of, field_name, labels_beside, signature_of_columns

__all__ = ["examples_of", "field_name", "labels_beside", "signature_of_columns"]
