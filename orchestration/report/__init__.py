"""The nightly page: what people read in the morning. It knows the marts and the control tables, no asset."""
