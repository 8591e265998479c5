"""Corrections of translations: garbage refused, the rest kept in one file per domain, for `fmalloc correct`"""
