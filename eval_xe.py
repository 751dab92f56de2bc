override(globals())
