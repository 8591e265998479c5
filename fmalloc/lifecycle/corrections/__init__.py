"""Corrections of translations become the next version of a domain, if a gate finds it better."""
