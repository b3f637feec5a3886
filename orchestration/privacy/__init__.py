"""Erasing a person: who is asked for, what is taken out where, and what keeps it out.

``requests`` holds what is asked, ``subject`` finds the person's records and identifiers, ``landed`` takes them out of
landed rows, ``strings`` out of texts, ``suppression`` keeps them out of later extractions, ``plan`` works out what
changes in the landing and the clean layer, ``erase`` goes through every layer, ``search`` looks whether anything is
left, ``bytes_search`` how texts are found as they are stored.

Does not belong here: retention by age, and which fields are hidden before they are landed (``sources.pii``).
"""
