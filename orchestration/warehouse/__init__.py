"""The clean layer, the control tables, publishing: what is stored, and how it changes whole or not at all."""
