"""Glossaries: read from TSV, CSV and TBX, and kept for the clients of a server"""
