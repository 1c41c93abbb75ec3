"""A shop as large as one gets, and how long its pages take."""
