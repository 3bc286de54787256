"""(to be described by its author)"""
