"""The experience warehouse: what runs each night, and the code it runs."""
